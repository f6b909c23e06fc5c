# SPDX-License-Identifier: Apache-2.0
"""The benchmark's arithmetic, tables, charts and protocol on made-up measurements: no peers, nothing is timed."""
import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(ROOT, "bench")
sys.path[:0] = [BENCH, os.path.join(BENCH, "peers")]
import chart  # noqa: E402
import compare  # noqa: E402
import publish  # noqa: E402
import scaling  # noqa: E402
import serve  # noqa: E402
import table  # noqa: E402

PEAKS = {"cpu": "a CPU", "level": "avx2", "int8_level": "avx2", "threads": 2, "fma_gflops": [50.0, 100.0], "int8_gops": [200.0, 400.0],
         "bandwidth": [{"level": name, "block_bytes": 1, "read_gb_s": [r, 2 * r], "update_gb_s": [r / 2, r]}
                       for name, r in (("L2", 100.0), ("L3", 20.0), ("DRAM", 10.0))],
         "cache_bytes": {"L2": 1 << 20, "L3": 1 << 25}}
PARTS = [{"op": "conv2d", "pass": "forward", "kernel": "jit", "layers": 3, "seconds": 0.03, "macs": 1e9, "bytes": 1e6},
         {"op": "batchnorm", "pass": "backward", "kernel": "", "layers": 3, "seconds": 0.01, "macs": 0.0, "bytes": 1e6}]


def document():
    """resnet18 misses its target, the mixture's dense twin is met, start-up is met."""
    work = {"macs": 1e9, "bytes": 1e7, "held_bytes": 1 << 26, "parts": PARTS}
    return {"date": "2026-01-02", "batch": 128, "repeats": 3, "peaks": PEAKS, "versions": {"Fulcrum": "0", "PyTorch": "9"},
            "machine": {"cpu": "a CPU", "cores": 2, "threads": 2, "kernels": "avx2", "wait_policy": "passive", "load": [0.1, 1.0]},
            "cases": {
                "train resnet18": {"unit": "s", "work": work, "profile": PARTS, "series": {
                    "ours": [0.10, 0.11, 0.12], "torch/eager contiguous": [0.05], "torch/eager channels_last": [0.20, 0.21, 0.18],
                    "torch/compile contiguous": [0.22, 0.22, 0.22]}, "failed": {"grouped": "no such thing"}},
                "train vit_tiny": {"unit": "s", "series": {"ours": [0.5], "torch/sdpa": [0.8], f"torch {serve.SHORTCUT}/sdpa": [0.7]}},
                "train resnet20-moe": {"unit": "s", "series": {"ours": [0.11, 0.12], "dense": [0.10, 0.11]}},
                "memory resnet20": {"unit": "bytes", "series": {"ours": [2e8], "torch/eager": [1e9]}, "idle": {"torch": 4e8, "ours": 1e7}},
                "startup": {"unit": "s", "series": {"ours": [0.02, 0.03, 0.04]}},
                "jobs": {"unit": "s", "series": {"--jobs 1": [10.0], "--jobs 2": [8.0], "auto": [8.8]}},
            }}


class Rows(unittest.TestCase):
    def setUp(self):
        self.rows = {(r["case"], r["work"].strip()): r for r in table.make_rows(document())}

    def test_best_variant_counts(self):
        r = self.rows["train resnet18", "train resnet18 (64-512)"]
        self.assertEqual(r["variant"], "eager channels_last")  # the contiguous one was faster, but only measured once: it was dropped
        self.assertAlmostEqual(r["ratio"], 0.20 / 0.11)
        self.assertAlmostEqual(r["ratio_range"][0], 0.18 / 0.12)
        self.assertAlmostEqual(r["ratio_range"][1], 0.20 / 0.10)
        self.assertFalse(r["met"])

    def test_share_and_floor(self):
        r = self.rows["train resnet18", "train resnet18 (64-512)"]
        self.assertAlmostEqual(r["floor"], 0.02)  # 1e9 MACs at 100 GFLOP/s, far more than the bytes take
        self.assertEqual(r["binds"], "MACs")
        self.assertAlmostEqual(r["share"], 2e9 / 0.11 / 100e9)
        slow = document()["cases"]["train resnet18"]
        slow["work"]["bytes"] = 1e9
        seconds, level = table.floor_of(slow, PEAKS)
        self.assertEqual(level, "DRAM")  # 64 MiB do not fit the 32 MiB of L3
        self.assertAlmostEqual(seconds, 1 / 20)

    def test_better_peak_counts(self):
        other = json.loads(json.dumps(PEAKS)) | {"fma_gflops": [60.0, 90.0]}
        best = table.best_peaks(PEAKS, other)
        self.assertEqual(best, PEAKS | {"fma_gflops": [60.0, 100.0]})

    def test_targets_from_above(self):
        r = self.rows["train resnet20-moe", "beside the dense net of equal MACs"]
        self.assertAlmostEqual(r["ratio"], 0.115 / 0.105)
        self.assertTrue(r["met"])
        self.assertNotIn(("train resnet20-moe", "train resnet20 + conv MoE stage"), self.rows)  # no peer was there
        r = self.rows["jobs", "study of 8 runs, --jobs auto"]
        self.assertEqual((r["variant"], r["met"]), ("--jobs 2", False))
        self.assertAlmostEqual(r["ratio"], 1.1)
        self.assertTrue(self.rows["startup", "start of fulcrum predict, resnet20"]["met"])
        self.assertTrue(self.rows["memory resnet20", "memory of training resnet20"]["met"])

    def test_shown(self):
        rows = list(self.rows.values())
        text = table.as_text(rows)
        self.assertIn("1.82 (1.50–2.00)", text)
        self.assertIn("200 MB", text)
        self.assertIn("≤ 50.0 ms", text)
        self.assertEqual(len(set(map(len, (line.split("|") for line in table.as_markdown(rows).splitlines())))), 1)
        self.assertIn("load 0.1 before", table.header(document())[0])
        self.assertIn("0.32 × PyTorch's", table.memory_notes(document())[0])  # (200 - 10) / (1000 - 400)
        self.assertIn("0.32 × PyTorch's", table.notes(document())[0])
        self.assertIn("it takes 700.0 ms (sdpa): ratio 1.40 (1.40–1.40)", table.notes(document())[1])
        self.assertAlmostEqual(self.rows["train vit_tiny", "train vit_tiny (patch 4, depth 6)"]["ratio"], 1.6)
        self.assertEqual(table.kernels_of(document())["train resnet18"], "jit forward ×3")

    def test_chart_is_xml(self):
        root = xml.fromstring(chart.targets(list(self.rows.values())))
        bars = [e for e in root.iter() if e.tag.endswith("rect")]
        self.assertEqual(len(bars), len(self.rows))


class Scaling(unittest.TestCase):
    def test_exponent(self):
        self.assertAlmostEqual(scaling.fit([[x, 3 * x**1.5] for x in (1, 2, 8, 64)]), 1.5)

    def test_more_experts_cost_router_and_weights(self):
        model = scaling.expert_model([[4, 1.0], [8, 2.0]], PEAKS, width=10, hidden=20, tokens=1000, k=2)
        router = 3 * 2e-9 * 1000 * 10 * 4 / 100
        weights = 4 * 4 * 4 * (2 * 10 * 20 + 30) / 200e9
        self.assertAlmostEqual(model[0][1], 1.0)
        self.assertAlmostEqual(model[1][1], 1 + router + weights, places=12)

    def test_ticks(self):
        self.assertEqual(chart.sizes(2, 16), [2, 4, 8, 16])
        self.assertEqual(chart.amounts(0.5, 2000), [1, 10, 100, 1000])
        self.assertEqual(chart.amounts(90, 600), [100, 200, 500])
        self.assertEqual(chart.amounts(190, 300), [200, 250, 300])

    def test_drawing(self):
        series = [{"name": "a", "points": [[2**i, 0.001 * 2**i] for i in range(8)]}, {"name": "b", "points": [[1, 1.0]] * 2, "model": True}]
        series[1]["points"] = [[1, 0.5], [128, 0.7]]
        panel = scaling.finish({"title": "batch", "x": "images", "series": series})
        self.assertIn("x^1.00", panel["note"])
        doc = {"panels": {"batches": panel}, "cpu": "a CPU", "threads": 2, "repeats": 1, "load": [0, 0], "date": "today", "peaks": PEAKS}
        xml.fromstring(scaling.drawing(doc))
        self.assertIn("| batch: a (images) | 1.00 | 1.00 |", publish.scaling_block(doc))


class Publishing(unittest.TestCase):
    def test_blocks_are_rewritten(self):
        with tempfile.TemporaryDirectory() as root:
            source = os.path.join(root, "measured")
            os.makedirs(os.path.join(root, "doc"))
            os.makedirs(source)
            with open(os.path.join(source, "bench.json"), "w", encoding="utf-8") as f:
                json.dump(document(), f)
            marks = "before\n<!-- {0}:begin -->\nold\n<!-- {0}:end -->\nafter\n"
            for path, names in (("doc/performance.md", ("results", "profile", "scaling")), ("README.md", ("speed",))):
                with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                    f.write("".join(marks.format(name) for name in names))
            for _ in range(2):  # a second time changes nothing
                subprocess.run([sys.executable, os.path.join(BENCH, "publish.py"), source, "--root", root], check=True)
                with open(os.path.join(root, "doc/performance.md"), encoding="utf-8") as f:
                    text = f.read()
                self.assertEqual(text.count("\nold\n"), 1)  # of the curves, which were not measured
                self.assertEqual(text.count("| train resnet18 (64-512) |"), 1)
                self.assertEqual(text.count("Missed: train resnet18"), 1)
                self.assertIn("| conv2d | forward | jit | 3 | 30.000 | 75.0 % | 67 |", text)
                self.assertIn("could not run train resnet18: grouped", text)
                self.assertTrue(os.path.exists(os.path.join(root, "bench/results/avx2/bench.json")))
            other = document() | {"peaks": PEAKS | {"level": "avx512"}}  # another machine stands beside it
            other["machine"]["cpu"] = "another CPU"
            with open(os.path.join(source, "bench.json"), "w", encoding="utf-8") as f:
                json.dump(other, f)
            subprocess.run([sys.executable, os.path.join(BENCH, "publish.py"), source, "--root", root], check=True)
            with open(os.path.join(root, "doc/performance.md"), encoding="utf-8") as f:
                text = f.read()
            self.assertLess(text.index("### avx512: another CPU"), text.index("### avx2: a CPU"))
            with open(os.path.join(root, "README.md"), encoding="utf-8") as f:
                self.assertEqual(f.read().count("**1.82 (1.50–2.00)**"), 2)


class Peers(unittest.TestCase):
    def test_slow_and_broken_variants_stay_out(self):
        def broken():
            raise ValueError("cannot\nat all")

        calls = []
        both = serve.Contests({"": serve.Contest({"a": lambda: lambda: None}), "x": serve.Contest({"b": lambda: lambda: None})})
        case = compare.Case()
        case.add_variants("torch", both.turn(1))
        self.assertEqual(sorted(case.data["series"]), ["torch x/b", "torch/a"])
        contest = serve.Contest({"quick": lambda: lambda: None, "broken": broken, "slow": lambda: lambda: sum(range(20000))},
                                lambda best: {best + "er": lambda: lambda: calls.append(1)})
        first, second = contest.turn(5), contest.turn(5)
        self.assertEqual(set(first["seconds"]), {"quick", "slow", "quicker"})
        self.assertEqual(first["failed"], {"broken": "ValueError: cannot"})
        self.assertNotIn("slow", second["seconds"])
        self.assertEqual(len(first["seconds"]["quick"]), 5)

    def test_protocol(self):
        """What a library prints does not reach the answers; a refusal is an answer."""
        script = ("import serve\ndef answer(r):\n print('noise')\n if r.get('bad'): raise SystemExit('differs')\n"
                  " return {'twice': 2 * r['x']}\nserve.serve(answer)\n")
        done = subprocess.run([sys.executable, "-c", script], input='{"x": 4}\n{"bad": 1}\n', capture_output=True, text=True, check=True,
                              cwd=os.path.join(BENCH, "peers"))
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], [{"twice": 8}, {"error": "differs"}])


FAKE = """#!{python}
import json, sys
part = {{"seconds": [0.1, 0.2], "macs": 1e9, "bytes": 1e6, "parts": {parts}}}
name, args = sys.argv[0].split("/")[-1], sys.argv[1:]
if name == "peaks": print('{peaks}')
elif name == "bench_layer":
    side = {{"macs": 10, "weights": 5, "seconds": [0.1]}}
    print(json.dumps([{{"tokens": int(args[args.index("--tokens") + 1]), "dense": side, "moe": side}}]))
elif args[0] == "doctor": print(json.dumps({{"version": "0", "onednn": "1", "cpu": "a CPU", "cores": 2, "kernels": "avx2", "wait_policy": "passive"}}))
elif args[0] == "bench" and "dwnet" in args and "--infer-only" in args: sys.exit("no such net")
elif args[0] == "bench": print(json.dumps({{"macs": 1, "params": 2, "work_bytes": 3, "weight_bytes": 4, "train": part, "infer": part}}))
elif args[0] == "predict": print("cat")
"""


class WholeRun(unittest.TestCase):
    def test_our_side_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("fulcrum", "peaks", "bench_layer"):
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8") as f:
                    f.write(FAKE.format(python=sys.executable, peaks=json.dumps(PEAKS), parts=PARTS))
                os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
            command = [sys.executable, os.path.join(BENCH, "compare.py"), os.path.join(folder, "fulcrum"), folder, "none", "--no-peers",
                       "--repeats", "2", "--starts", "2", "--out", os.path.join(folder, "out"), "--group", "train", "layer", "startup", "--only", "s"]
            subprocess.run(command, check=True, capture_output=True)
            subprocess.run([*command[:-1], "layer 256", "--merge"], check=True, capture_output=True)
            with open(os.path.join(folder, "out", "bench.json"), encoding="utf-8") as f:
                doc = json.load(f)
            self.assertEqual(sorted(doc["cases"]), ["layer 256", "startup", "train resnet18", "train resnet20", "train resnet20-moe"])
            self.assertEqual(doc["cases"]["train resnet20-moe"]["series"]["dense"], [0.15000000000000002] * 2)
            self.assertEqual(doc["cases"]["train resnet18"]["profile"], PARTS)
            self.assertEqual([r["ratio"] for r in doc["rows"] if r["case"] == "layer 256"], [1.0])
            stopped = subprocess.run([*command[:-2], "infer", "--only", "infer1 "], capture_output=True, text=True, check=False)
            self.assertEqual(stopped.returncode, 1)
            self.assertIn("no such net", stopped.stderr)
            with open(os.path.join(folder, "out", "bench.json"), encoding="utf-8") as f:
                self.assertEqual(sorted(json.load(f)["cases"]), ["infer1 resnet20"])  # what was measured before stands
            command = [sys.executable, os.path.join(BENCH, "scaling.py"), os.path.join(folder, "fulcrum"), folder, "--repeats", "1", "--axis",
                       "experts", "depths", "--out", os.path.join(folder, "out")]
            subprocess.run(command, check=True, capture_output=True)
            with open(os.path.join(folder, "out", "scaling.json"), encoding="utf-8") as f:
                self.assertEqual(sorted(json.load(f)["panels"]), ["depths", "experts"])
            xml.parse(os.path.join(folder, "out", "scaling.svg"))


if __name__ == "__main__":
    unittest.main()

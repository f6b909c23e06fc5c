# SPDX-License-Identifier: Apache-2.0
"""Fulcrum's side of the benchmark: runs the programs and reads what they say."""
import json
import os
import struct
import subprocess
import tempfile
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
# Eight short runs of a small net on generated images: a study that a fixed choice of jobs decides.
STUDY = """study: jobs
base:
  data: {name: clusters, gen_train: 4000, gen_test: 500}
  net: {arch: resnet8, width: 16}
  train: {epochs: 3, batch: 64, lr: 0.05}
arms:
  - {name: plain}
  - {name: smooth, set: {train: {label_smoothing: 0.1}}}
seeds: 4
cells:
  - {arm: smooth, against: plain}
"""


def load():
    return os.getloadavg()[0]


def peak_memory(command, env):
    """Largest resident size of a fresh process, in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {message.decode()[-500:]}")
    return usage.ru_maxrss * 1024


def png(path, side=32):
    """A coloured gradient of side x side pixels."""
    rows = b"".join(b"\0" + bytes(v for x in range(side) for v in (8 * x % 256, 8 * y % 256, 128)) for y in range(side))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def work_of(result, split):
    """What a step must do: of the whole batch, with what it holds in memory."""
    part = result[split]
    return {"macs": part["macs"], "bytes": part["bytes"], "held_bytes": result["work_bytes"] + result["weight_bytes"],
            "parts": [{k: p[k] for k in ("op", "pass", "kernel", "layers", "macs", "bytes")} for p in part["parts"]]}


def layer_work(result, width, hidden, k, **_):
    """Forward and both gradients; x, y, dy and dx pass once (x twice), the hidden values are kept and read, weights are read
    twice and their gradient written."""
    tokens, weights = result["tokens"], result["moe"]["weights"]
    hidden_floats = tokens * k * hidden
    floats = 5 * tokens * width + 2 * hidden_floats + 3 * weights
    return {"macs": 3 * result["moe"]["macs"], "bytes": 4 * floats, "held_bytes": 4 * (4 * tokens * width + 2 * hidden_floats + 2 * weights)}


class Ours:
    def __init__(self, fulcrum, programs, threads, env):
        self.fulcrum, self.programs, self.threads, self.env = fulcrum, programs, threads, env
        self.peaks_file = None

    def run(self, *command, env=None):
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=env or self.env, check=False)
        except OSError as error:
            raise SystemExit(f"cannot run {command[0]}: {error.strerror}; `make bench` builds what it measures") from error
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def program(self, name, *args):
        return json.loads(self.run(os.path.join(self.programs, name), "--json", "--threads", str(self.threads), *args))

    def machine(self):
        return json.loads(self.run(self.fulcrum, "doctor", "--json"))

    def measure_peaks(self):
        peaks = self.program("peaks")
        self.peaks_file = tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8")
        json.dump(peaks, self.peaks_file)
        self.peaks_file.flush()
        return peaks

    def bench_command(self, net, batch, rounds, *more):
        moe = net.endswith("-moe")
        what = [os.path.join(HERE, "moe-stage.yaml")] if moe else ["--arch", net]
        if net.startswith("vit"):
            what = [word for key in (f"arch={net}", "patch=4", "depth=6") for word in ("--set", f"net.{key}")]
        peaks = ["--peaks", self.peaks_file.name] if self.peaks_file else []
        return [self.fulcrum, "bench", *what, "--json", "--threads", str(self.threads), "--batch", str(batch), "--rounds",
                str(rounds), *peaks, *more]

    def bench(self, net, batch, rounds, *more):
        return json.loads(self.run(*self.bench_command(net, batch, rounds, *more)))

    def layer(self, tokens, **shape):
        options = [word for key, value in shape.items() for word in (f"--{key}", str(value))]
        return self.program("bench_layer", "--tokens", str(tokens), *options)[0]

    def training_memory(self, net, batch):
        return peak_memory(self.bench_command(net, batch, 3, "--train-only"), self.env)

    def with_cache(self, folder):
        """The environment with decoded images and all else that is cached in this folder."""
        return dict(self.env, XDG_CACHE_HOME=os.path.join(folder, "cache"))

    def idle_memory(self):
        return peak_memory([self.fulcrum, "doctor"], self.env)

    # fulcrum predict ------------------------------------------------------------------------------------------------------

    def make_model(self, folder):
        png(os.path.join(folder, "image.png"))
        self.run(self.fulcrum, "train", "--quiet", "--out", os.path.join(folder, "run"), "--set", "net.arch=resnet20", "--set",
                 "data.name=clusters", "--set", "data.gen_train=256", "--set", "data.gen_test=64", "--set", "train.epochs=1",
                 env=self.with_cache(folder))

    def first_prediction(self, folder):
        """Seconds from starting the program to the first byte of its result."""
        command = [self.fulcrum, "predict", os.path.join(folder, "run"), os.path.join(folder, "image.png")]
        env = self.with_cache(folder)
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
            first = process.stdout.read(1)
            seconds = time.perf_counter() - start
            process.stdout.read()
        if not first or process.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        return seconds

    # fulcrum study --------------------------------------------------------------------------------------------------------

    def study(self, folder, jobs):
        plan = os.path.join(folder, "plan.yaml")
        with open(plan, "w", encoding="utf-8") as f:
            f.write(STUDY)
        env = {k: v for k, v in self.with_cache(folder).items() if k != "OMP_NUM_THREADS"}
        start = time.perf_counter()
        done = subprocess.run([self.fulcrum, "study", plan, "--quiet", "--out", os.path.join(folder, "study"), "--jobs", str(jobs)],
                              capture_output=True, text=True, env=env, check=False)
        if done.returncode:
            raise SystemExit(f"the study failed: {done.stderr[-500:]}")
        return time.perf_counter() - start

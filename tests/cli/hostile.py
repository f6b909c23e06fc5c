#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names that try to break what they are printed in: JSON, pages, pictures. Files and folders may be called nearly anything.
usage: hostile.py PROGRAM"""
import glob
import json
import os
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
import zlib
from html.parser import HTMLParser

PROGRAM = os.path.realpath(sys.argv[1])
WEIGHTS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../train/weights/resnet8.safetensors")
CLASSES = ['<script>alert("a")', "<u>\"b\\ & 'c'", "caf\u00e9 \U0001f431"]
HOSTILE = b"\"q\\u0022<u>&'\n\x1b[31m\xff"  # a file name: also a line break, a control character, a byte that is no UTF-8
SHOWN = HOSTILE.decode("utf-8", "replace").replace("\ufffd", "?")
passed = failed = 0


def check(name, good, said=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"[  FAILED  ] {name}\n{said}")


def run(name, *arguments, code=0):
    """Standard output of the program; None where it ended otherwise than it must."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, check=False)
    check(f"{name}: exit {done.returncode}, not {code}", done.returncode == code, repr(done.stdout + done.stderr))
    return done.stdout if done.returncode == code else None


def strict(text):
    """As JSON, where NaN is none and a key stands once."""
    def refuse(what):
        raise ValueError(what)

    def once(pairs):
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    return json.loads(text.decode("utf-8"), parse_constant=refuse, object_pairs_hook=once)


def parsed(name, text, lines=False):
    try:
        return [strict(line) for line in text.splitlines()] if lines else strict(text)
    except (ValueError, AttributeError) as error:
        check(f"{name} is JSON ({error})", False, repr(text))
        return [] if lines else {}


def same(name, got, wanted):
    check(f"{name} is {got!r}, not {wanted!r}", got == wanted)


class Page(HTMLParser):
    """Notes the elements and closes: a name that got out of its place would add some."""
    void = {"meta", "img", "br", "rect", "line", "path", "circle", "hr"}

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.wrong = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if tag in self.void:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def whole_page(name, path):
    text = open(path, "rb").read().decode("utf-8")  # which fails on what is no UTF-8
    page = Page()
    page.feed(text)
    check(f"{name} has elements that are not ours", not page.tags & {"script", "u"})
    check(f"{name} is nested wrongly: {page.wrong[:5]}, left open {page.open[:5]}", not page.wrong and not page.open)
    check(f"{name} has control characters", all(c >= " " or c in "\t\r\n" for c in text))
    return text


def png(path, shade):
    raw = b"".join(b"\0" + bytes((16 * y + 3 * x + shade) % 256 for x in range(3 * 8)) for y in range(8))

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) +
                   part(b"IDAT", zlib.compress(raw)) + part(b"IEND", b""))


def make_images(root):
    for split, count in (("train", 8), ("test", 3)):
        for number, name in enumerate(CLASSES):
            folder = os.path.join(root, split.encode(), name.encode())
            os.makedirs(folder)
            for i in range(count):
                png(os.path.join(folder, b"%d.png" % i), 40 * number + i)


def check_run(where, images):
    keys = ["--set", "data.name=folder", "--set", "data.path=images", "--set", "net.arch=resnet8", "--set", "net.width=8",
            "--set", "moe=[{at: stage3, expert: conv, experts: 4, k: 2, hidden: 8}]", "--set", "train.epochs=1", "--set",
            "train.batch=8", "--set", "data.cache=cache", "--threads", "1"]
    out = run("train", "train", *keys, "--out", where, "--arm", HOSTILE, "--json")
    same("the folder", parsed("train --json", out).get("folder"), SHOWN)
    result = parsed("result.json", open(os.path.join(where, b"result.json"), "rb").read())
    same("the arm", result.get("arm"), SHOWN)
    same("the classes", sorted(result["data"]["class_names"]), sorted(CLASSES))
    for name in (b"metrics.jsonl", b"routing.jsonl"):
        parsed(name.decode(), open(os.path.join(where, name), "rb").read(), lines=True)
    out = run("a run that failed", "train", *keys, "--set", "train.lr=1e30", "--out", where + b"2", "--json", code=1)
    error = parsed("error.json", open(os.path.join(where + b"2", b"error.json"), "rb").read())
    check("error.json says what happened", "message" in error)

    out = run("eval", "eval", where, "--against", where, "--figures", "figures", "--corrupt", "fog,jpeg_compression", "--severity", "2",
              "--batches", "1,4", "--tta", "flip", "--keep", "--json")
    judged = parsed("eval --json", out)
    same("the other model", judged.get("against", {}).get("model"), SHOWN)
    same("the classes judged", sorted(c["name"] for c in judged.get("per_class", [])), sorted(CLASSES))
    pictures = glob.glob("figures/*.svg")
    check("eval drew its pictures", len(pictures) >= 3)
    for picture in pictures:
        whole_picture(picture)
    image = os.path.join(images, b"test", CLASSES[0].encode(), HOSTILE + b".png")
    png(image, 7)
    predicted = parsed("predict --json", run("predict", "predict", where, image, image, "--explain", "--page", "p.html", "--json"))
    same("no image is lost", len(predicted), 2)
    check("the image is named", predicted and SHOWN in predicted[0]["image"])
    whole_page("the page of experts", "p.html")
    os.unlink(image)
    run("report", "report", where, "-o", "run.html", "--figures", "run-figures")
    page = whole_page("the page of a run", "run.html")
    kept = parsed("evaluation.json", open(os.path.join(where, b"evaluation.json"), "rb").read())
    same("what was kept is what was printed", {**kept, "seconds": 0}, {**judged, "seconds": 0})
    for part in ("Further evaluations", "averaged over 2 views (flip)", "Against " + SHOWN.split("<")[0].replace('"', "&quot;"),
                 "Error on corrupted images", "<td>jpeg_compression</td>", "Evaluated in other batches"):
        check(f"the page has {part!r}", part in page)
    with open(os.path.join(where, b"evaluation.json"), "w", encoding="utf-8") as file:
        file.write('{"format": "fulcrum-evaluation-1", "split": "<u>", "batches": [[], 3], "against": {"model": "<u>"}, "tta": {}, '
                   '"corruptions": {"rows": [{"name": "<u>"}, {"name": "fog", "error": [null, "x"]}, 7]}}')
    run("report of a hostile evaluation", "report", where, "-o", "run2.html")
    whole_page("the page of a hostile evaluation", "run2.html")
    with open(os.path.join(where, b"evaluation.json"), "wb") as file:
        file.write(b"damaged \xff")
    run("report of a damaged evaluation", "report", where, "-o", "run3.html")
    check("names it", "evaluation.json" in whole_page("the page of a damaged evaluation", "run3.html"))
    check("the page names the classes", "&lt;script&gt;alert(&quot;a&quot;)" in page)
    for picture in glob.glob("run-figures/*.svg"):
        whole_picture(picture)
    tensors = parsed("inspect --json", run("inspect", "inspect", where, "--json"))
    check("inspect lists tensors", bool(tensors))


def whole_picture(path):
    try:
        xml.parse(path)
        check(path, True)
    except xml.ParseError as error:
        check(f"{path} is XML ({error})", False, open(path, "rb").read()[:2000])


def check_data(images):
    for path, code in ((images, 0), (b"none" + HOSTILE, 3)):
        os.makedirs(path, exist_ok=True)
        told = parsed("data info --json", run("data info", "data", "info", path, "--json", code=code))
        shown = path.decode("utf-8", "replace").replace("\ufffd", "?")
        check("data info names the path", told and all(split["path"].startswith(shown) for split in told["splits"]), told)
    told = parsed("data pack --json", run("data pack", "data", "pack", images, "--out", b"pack" + HOSTILE, "--json"), lines=True)
    same("both splits are packed", [row["split"] for row in told], ["train", "test"])
    out = run("import", "import", WEIGHTS, "--set", "net.arch=resnet8", "--set", "net.width=4", "--set", "net.height=12",
              "--out", HOSTILE + b".safetensors", "--json")
    same("the checkpoint", parsed("import --json", out).get("checkpoint"), SHOWN + ".safetensors")
    with open("names.txt", "wb") as file:
        file.write(b"a\nb\x1b[31m\nc\nd\ne\n")
    run("import with control characters in names", "import", WEIGHTS, "--set", "net.arch=resnet8", "--set", "net.width=4", "--set",
        "net.height=12", "--classes", "names.txt", "--out", "no.safetensors", code=3)


def check_damaged():
    """Damaged images of a decoded set are counted by every run, not only by the one that made the cache."""
    make_images(b"damaged")
    for split in ("train", "test"):
        with open(os.path.join("damaged", split, CLASSES[0], "0.png"), "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\ncut")
    keys = ["--set", "data.name=folder", "--set", "data.path=damaged", "--set", "net.arch=linear", "--set", "train.epochs=1", "--set",
            "train.batch=8", "--set", "data.cache=cache", "--threads", "1"]
    run("a damaged image is an error", "train", *keys, "--out", "d0", code=3)
    for folder in ("d1", "d2"):
        run("and may be skipped", "train", *keys, "--set", "data.on_error=skip", "--out", folder)
        result = parsed("result.json", open(folder + "/result.json", "rb").read())
        same("left out of training", result["data"].get("train_left_out"), 1)
        same("left out of the test", result["test"].get("skipped"), 1)
    same("left out of the evaluation", parsed("eval --json", run("eval", "eval", "d2", "--json")).get("skipped"), 1)


def check_study():
    with open("plan.yaml", "w", encoding="utf-8") as file:
        file.write("study: hostile\nabout: \"</p><script>1</script> & \\\"quoted\\\" \\u001b\"\n"
                   "base:\n  data: {name: folder, path: images, cache: cache}\n  net: {arch: resnet8, width: 8}\n"
                   "  train: {epochs: 1, batch: 8}\narms:\n  - {name: a}\n  - {name: b, set: {train: {lr: 0.05}}}\n"
                   "seeds: 2\ncells:\n  - {arm: a, against: b}\n")
    out = run("study", "study", "plan.yaml", "--out", HOSTILE + b"study", "--jobs", "1", "--json", "--quiet")
    check("the study is judged", len(parsed("study --json", out).get("cells", [])) == 1)
    whole_page("the page of a study", os.path.join(HOSTILE + b"study", b"report.html"))
    with open(os.path.join(HOSTILE + b"study", b"runs/a/seed1/result.json"), "wb") as file:
        file.write(b"damaged")
    told = parsed("study --results --json", run("a study with a damaged run", "study", "--results", "--out", HOSTILE + b"study", "--json",
                                                code=1))
    runs = told.get("arms", [{"runs": [{}]}])[0]["runs"]
    check("the damaged run is named", SHOWN in (runs[0].get("error") or ""), runs)
    parsed("study.json", open(os.path.join(HOSTILE + b"study", b"study.json"), "rb").read())


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = folder + "/user-cache"
        os.environ["LC_ALL"] = "C"
        images = b"images"
        make_images(images)
        check_run(HOSTILE, images)
        check_data(images)
        check_study()
        check_damaged()
        parsed("doctor --json", run("doctor", "doctor", "--json"))
        os.chdir("/")
    print(f"[  PASSED  ] {passed} test(s).")
    if failed:
        print(f"[  FAILED  ] {failed} test(s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""How reading grows with the images of a set: ImageNet's two archives made up with small PNGs, up to the 1,281,167 training images of the real one.
Times what `fulcrum data info`, `fulcrum data pack` and the start of a streaming run (`fulcrum train --probe`) do with them, with their peak memory.
Called by `make bench-images`.

usage: many_images.py FULCRUM [--images 12800,128000,1281167] [--folder DIR] [--out FILE.json]
"""
import argparse
import json
import os
import random
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import zlib

from many_runs import exponent, timed

CLASSES, PICTURES, SIDE = 1000, 64, 32
MEMORY_LIMIT = 1 << 30
STAGES = ("info", "pack", "start")


def png(rng):
    """A small colour image: blocks of one colour each."""
    colours = [[bytes(rng.randrange(256) for _ in range(3)) for _ in range(SIDE // 4)] for _ in range(SIDE // 4)]
    rows = b"".join(b"\0" + b"".join(colours[y // 4][x // 4] for x in range(SIDE)) for y in range(SIDE))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) +
            chunk(b"IEND", b""))


def member(name, body):
    header = tarfile.TarInfo(name)
    header.size = len(body)
    return header.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def make_set(folder, images):
    """ILSVRC2012_img_train.tar, one archive a class in it, and the validation images with their list."""
    rng = random.Random(images)
    pictures = [png(rng) for _ in range(PICTURES)]
    end = bytes(1024)
    os.makedirs(folder)
    with open(os.path.join(folder, "ILSVRC2012_img_train.tar"), "wb") as out:
        for c in range(CLASSES):
            wnid = f"n{10000000 + c:08d}"
            count = images // CLASSES + (c < images % CLASSES)
            out.write(member(wnid + ".tar", b"".join(member(f"{wnid}_{i}.PNG", pictures[(c + i) % PICTURES]) for i in range(count)) + end))
        out.write(end)
    tested = max(images // 26, CLASSES)
    with open(os.path.join(folder, "ILSVRC2012_img_val.tar"), "wb") as out:
        for i in range(tested):
            out.write(member(f"ILSVRC2012_val_{i + 1:08d}.PNG", pictures[i % PICTURES]))
        out.write(end)
    with open(os.path.join(folder, "LOC_val_solution.csv"), "w", encoding="ascii") as out:
        out.write("ImageId,PredictionString\n")
        out.writelines(f"ILSVRC2012_val_{i + 1:08d},n{10000000 + i % CLASSES:08d} 1 1 2 2\n" for i in range(tested))


def measure(fulcrum, folder, images):
    path = os.path.join(folder, f"set{images}")
    make_set(path, images)
    row = {"images": images, "archive_bytes": os.path.getsize(os.path.join(path, "ILSVRC2012_img_train.tar"))}
    run = os.path.join(folder, "run.yaml")
    with open(run, "w", encoding="ascii") as f:
        f.write(f"data: {{name: imagenet, path: {json.dumps(path)}, size: {SIDE}, decode: stream, augment: [crop4, flip]}}\nnet: {{arch: linear}}\n")
    packed, said = os.path.join(folder, "packed"), {}
    for stage, command in (("info", ["data", "info", path, "--name", "imagenet", "--json"]),
                           ("pack", ["data", "pack", path, "--name", "imagenet", "--out", packed, "--quiet"]),
                           ("start", ["train", run, "--probe", "1"])):
        with tempfile.TemporaryFile("w+") as out:
            seconds, memory = timed([fulcrum] + command, out)
            out.seek(0)
            said[stage] = out.read()
        row[stage + "_s"], row[stage + "_bytes"] = round(seconds, 3), memory
    row["info_says"] = next(s["images"] for s in json.loads(said["info"])["splits"] if s["split"] == "train")
    row["start_s"] = float(re.search(r"([0-9.]+) s to begin", said["start"]).group(1))  # without the probe's own second
    shutil.rmtree(packed)
    shutil.rmtree(path)
    return row


def show(rows):
    print(f"made-up ImageNet archives of {SIDE}x{SIDE} PNGs, {CLASSES} classes; seconds, and the exponent of time in images")
    print(f"{'images':>10}" + "".join(f"{s:>10}" for s in STAGES) + f"{'peak MB':>10}{'images read by info':>22}")
    for r in rows:
        peak = max(r[s + "_bytes"] for s in STAGES)
        print(f"{r['images']:>10}" + "".join(f"{r[s + '_s']:>10.2f}" for s in STAGES) + f"{1e-6 * peak:>10.0f}{r['info_says']:>22}")
    if len(rows) > 1:
        print(f"{'exponent':>10}" + "".join(f"{exponent(rows, s + '_s', 'images'):>10.2f}" for s in STAGES))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fulcrum")
    parser.add_argument("--images", default="12800,128000,1281167")
    parser.add_argument("--folder", help="where the made-up sets go (default: a temporary folder, removed at the end; 3 GB for a million images)")
    parser.add_argument("--out")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="fulcrum-images-")
    try:
        rows = [measure(args.fulcrum, folder, n) for n in map(int, args.images.split(","))]
    finally:
        if not args.folder:
            shutil.rmtree(folder)
    show(rows)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"side": SIDE, "classes": CLASSES, "rows": rows}, f, indent=1)
    peak = max(r[s + "_bytes"] for r in rows for s in STAGES)
    return 1 if peak > MEMORY_LIMIT or any(r["info_says"] != r["images"] for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

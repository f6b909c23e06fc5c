#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the file test_safetensors.c writes, as another program would: by the format's definition, and with Python's
safetensors module where it is installed."""
import json
import struct
import sys

EXPECTED = {
    "b.weight": ("F32", [2, 3], struct.pack("<6f", 1, -2, 3.5, 0, 1e-30, -1e30)),
    'probe/"é"': ("I32", [3], struct.pack("<3i", 7, -1, 2147483647)),
    "a.empty": ("F32", [0], b""),
}

path = sys.argv[1]
blob = open(path, "rb").read()
(length,) = struct.unpack("<Q", blob[:8])
header = json.loads(blob[8 : 8 + length])
data = blob[8 + length :]
meta = header.pop("__metadata__")
assert meta["format"] == "fulcrum-checkpoint-1", meta
assert meta["config"] == 'a: "1"\nb: €\t\x01\n', meta
assert set(header) == set(EXPECTED), header
covered = 0
for name, entry in header.items():
    dtype, shape, raw = EXPECTED[name]
    begin, end = entry["data_offsets"]
    assert (entry["dtype"], entry["shape"], data[begin:end]) == (dtype, shape, raw), (name, entry)
    covered += end - begin
assert covered == len(data)
try:
    from safetensors import safe_open
except ImportError:
    print("read_safetensors.py: the module safetensors is not installed; read by the format's definition only")
    sys.exit(0)
with safe_open(path, "numpy") as f:
    assert sorted(f.keys()) == sorted(EXPECTED)
    assert f.metadata()["format"] == "fulcrum-checkpoint-1"
    for name, (_, shape, raw) in EXPECTED.items():
        tensor = f.get_tensor(name)
        assert list(tensor.shape) == shape and tensor.tobytes() == raw, name
print("read_safetensors.py: read with the module safetensors")

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every net that torchvision or timm has too: its weights (random, no download) written by them, read by us, and the logits
compared (1e-4 of the largest). usage: compare_torch.py TEST_WEIGHTS [NET ...]; exit 77 where torch is missing."""
import os
import subprocess
import sys
import tempfile

try:
    import timm
    import torch
    import torchvision
    from safetensors.torch import save_file  # noqa: F401
except ImportError as missing:
    print(f"SKIPPED weights_torch: {missing}; it needs torch, torchvision, timm and safetensors")
    sys.exit(77)
from torch_common import randomise, write

# arch, program, model, side, extra keys
NETS = [
    ("resnet18", "torchvision", lambda: torchvision.models.resnet18(), 96),
    ("resnet34", "timm", lambda: timm.create_model("resnet34"), 96),
    ("resnet50", "torchvision", lambda: torchvision.models.resnet50(), 96),
    ("resnet50", "timm", lambda: timm.create_model("resnet50"), 96),
    ("resnet101", "torchvision", lambda: torchvision.models.resnet101(), 96),
    ("mobilenet_v2", "torchvision", lambda: torchvision.models.mobilenet_v2(), 96),
    ("mobilenet_v2", "timm", lambda: timm.create_model("mobilenetv2_100"), 96),
    ("mobilenet_v3_small", "torchvision", lambda: torchvision.models.mobilenet_v3_small(), 96),
    ("mobilenet_v3_small", "timm", lambda: timm.create_model("mobilenetv3_small_100"), 96),
    ("mobilenet_v3_large", "torchvision", lambda: torchvision.models.mobilenet_v3_large(), 96),
    ("mobilenet_v3_large", "timm", lambda: timm.create_model("mobilenetv3_large_100"), 96),
    ("convnext_atto", "timm", lambda: timm.create_model("convnext_atto"), 96),
    ("convnext_femto", "timm", lambda: timm.create_model("convnext_femto"), 96),
    ("convnext_pico", "timm", lambda: timm.create_model("convnext_pico"), 96),
    ("convnext_nano", "timm", lambda: timm.create_model("convnext_nano"), 96),
    ("convnext_tiny", "torchvision", lambda: torchvision.models.convnext_tiny(), 96),
    ("convnext_tiny", "timm", lambda: timm.create_model("convnext_tiny"), 96),
    ("mixer_s", "timm", lambda: timm.create_model("mixer_s16_224"), 224),
    ("mixer_b", "timm", lambda: timm.create_model("mixer_b16_224"), 224),
    ("vit_tiny", "timm", lambda: timm.create_model("vit_tiny_patch16_224"), 224),
    ("vit_small", "timm", lambda: timm.create_model("vit_small_patch16_224"), 224),
    ("vit_base", "torchvision", lambda: torchvision.models.vit_b_16(), 224),
]

program, wanted = sys.argv[1], sys.argv[2:]
failed = 0
with tempfile.TemporaryDirectory() as folder:
    weights, expected = os.path.join(folder, "w.safetensors"), os.path.join(folder, "e.safetensors")
    for arch, origin, make, side in NETS:
        if wanted and arch not in wanted:
            continue
        torch.manual_seed(1)
        write(randomise(make(), 3), weights, expected, side, 2)
        run = subprocess.run([program, "compare", arch, weights, expected], capture_output=True, text=True)
        print(f"{arch:20} {origin:12} {side:4} px: {(run.stdout + run.stderr).strip()}", flush=True)
        failed += run.returncode != 0
sys.exit(failed > 0)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the files test_weights.c reads: narrow nets as torchvision and timm name them, with random weights, and their
logits. Needs torch, timm and safetensors. usage: make_fixtures.py [FOLDER]"""
import os
import sys

import timm.models.convnext
import timm.models.mlp_mixer
import torch
from torch import nn

from torch_common import randomise, write


class Block(nn.Module):
    """A basic block with torchvision's names."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if self.downsample else x)).relu()


class ResNet8(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2))
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.fc(x.mean((2, 3)))


folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
NETS = {
    "resnet8": (ResNet8(4, 5), 12, torch.float32),
    "convnext_atto": (
        timm.models.convnext.ConvNeXt(depths=(2, 2, 6, 2), dims=(2, 4, 8, 16), num_classes=5, conv_mlp=True),
        32,
        torch.float16,
    ),
    "mixer_s": (
        timm.models.mlp_mixer.MlpMixer(img_size=8, patch_size=4, num_blocks=2, embed_dim=8, num_classes=5),
        8,
        torch.bfloat16,
    ),
}
for name, (model, side, dtype) in NETS.items():
    write(randomise(model, 7), f"{folder}/{name}.safetensors", f"{folder}/{name}.expected.safetensors", side, 1 if side > 12 else 2, dtype=dtype)
    print(name, sum(p.numel() for p in model.parameters()))

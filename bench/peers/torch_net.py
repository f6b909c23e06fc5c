# SPDX-License-Identifier: Apache-2.0
"""Times training steps and inference of resnet20/resnet18 in PyTorch on random input: the same nets, batch and threads as `fulcrum bench`.

Prints one JSON object with the fastest variant's median (contiguous and channels_last are both tried; each is timed).
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.short = None
        if stride != 1 or cin != cout:
            self.short = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.short is None else self.short(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    def __init__(self, widths, blocks, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        layers, cin = [], widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(cin, width, 2 if stage > 0 and block == 0 else 1))
                cin = width
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x)), inplace=True)
        return self.fc(self.layers(x).mean((2, 3)))


NETS = {"resnet20": ([16, 32, 64], 3), "resnet18": ([64, 128, 256, 512], 2), "resnet8": ([16, 32, 64], 1)}


def measure(arch, batch, rounds, memory_format):
    torch.manual_seed(1)
    net = ResNet(*NETS[arch]).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    x = torch.rand(batch, 3, 32, 32).to(memory_format=memory_format)
    label = torch.arange(batch) % 10
    train, infer = [], []
    for r in range(rounds + 1):  # the first round warms up
        net.train()
        start = time.perf_counter()
        loss = F.cross_entropy(net(x), label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        middle = time.perf_counter()
        net.eval()
        with torch.inference_mode():
            begin = time.perf_counter()
            net(x)
            end = time.perf_counter()
        if r:
            train.append(middle - start)
            infer.append(end - begin)
    return batch / statistics.median(train), batch / statistics.median(infer)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", choices=NETS, default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    variants = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    results = {name: measure(args.arch, args.batch, args.rounds, fmt) for name, fmt in variants.items()}
    train = max(results, key=lambda name: results[name][0])
    infer = max(results, key=lambda name: results[name][1])
    print(json.dumps({"peer": "PyTorch " + torch.__version__, "train_variant": train, "train_images_per_s": results[train][0],
                      "infer_variant": infer, "infer_images_per_s": results[infer][1]}))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""PyTorch's DataLoader with torchvision on Pillow, answering lines of JSON: {"kind", "path", "size", "workers", "seconds"}.

kind "folder": ImageFolder, RandomResizedCrop(size), RandomHorizontalFlip, ToTensor, Normalize: torchvision's training recipe.
kind "packed": 32 px arrays as torchvision's CIFAR10 holds them: RandomCrop(32, 4), flip, ToTensor, Normalize.
"""
import json
import sys
import time

import PIL
import torch
import torchvision
from PIL import Image
from torchvision import transforms as T

BATCH = 32
LAST = [T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize([0.45] * 3, [0.225] * 3)]


class Packed(torch.utils.data.Dataset):
    """As torchvision.datasets.CIFAR10: arrays that become Pillow images for the transforms."""

    def __init__(self, transform):
        self.data = torch.randint(0, 256, (20000, 32, 32, 3), dtype=torch.uint8).numpy()
        self.transform = transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.data[i])), 0


class Again(torch.utils.data.Dataset):
    """A set so long that no epoch ends while it is measured."""

    def __init__(self, inner, length=1 << 20):
        self.inner, self.length = inner, length

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        return self.inner[i % len(self.inner)]


def measure(kind, path, size, workers, seconds):
    crop = T.RandomCrop(32, 4) if kind == "packed" else T.RandomResizedCrop(size)
    transform = T.Compose([crop] + LAST)
    inner = Packed(transform) if kind == "packed" else torchvision.datasets.ImageFolder(path, transform)
    loader = torch.utils.data.DataLoader(Again(inner), BATCH, shuffle=True, num_workers=workers)
    images, start = 0, 0.0
    for number, (x, _) in enumerate(loader):
        now = time.perf_counter()
        if number == 7:
            start = now
        if number > 7:
            images += len(x)
            if now - start >= seconds:
                break
    return images / (now - start)


torch.set_num_threads(1)
for line in sys.stdin:
    request = json.loads(line)
    if request.pop("about", False):
        answer = {"torch": torch.__version__, "torchvision": torchvision.__version__, "pillow": PIL.__version__}
    else:
        answer = {"images_per_s": measure(**request)}
    print(json.dumps(answer), flush=True)

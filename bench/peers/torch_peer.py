# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of the benchmark: training steps of nets, forward + backward of MoE layers; eager and torch.compile, contiguous
and channels_last.

Requests: {"work": "versions"} | {"work": "train", "net", "batch", "rounds", "threads", "macs", "params"} |
{"work": "layer", "tokens", "width", "hidden", "experts", "k", "rounds", "threads"}
`torch_peer.py --memory NET --batch N --format contiguous|channels_last --threads N` trains a few steps and ends.
"""
import argparse
import re

import torch
from torch.nn import functional as F

import nets
from serve import SHORTCUT, Contest, Contests, serve

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def optimizer_of(net):
    return torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)


def training(make, batch, layout, compiled):
    """A training step of the net on random images, as a function of nothing."""
    torch.manual_seed(1)
    net = make().to(memory_format=FORMATS[layout]).train()
    optimizer = optimizer_of(net)
    x = torch.rand(batch, 3, 32, 32).to(memory_format=FORMATS[layout])
    label = torch.arange(batch) % 10
    run = torch.compile(net) if compiled else net

    def step():
        loss = F.cross_entropy(run(x), label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def contest_of(styles, batch):
    """The ways to write a net, name -> function that makes it: eager, then the best of them compiled."""

    def makers(style, mode):
        return {f"{style}{mode} {layout}": lambda layout=layout: training(styles[style], batch, layout, mode == "compile")
                for layout in FORMATS}

    eager = {}
    for style in styles:
        eager |= makers(style, "eager")
    return Contest(eager, lambda best: makers(best.split("eager")[0], "compile"))


def train_contest(request):
    name, batch = request["net"], request["batch"]
    styles = {"": nets.NETS[name]}
    if name.endswith("-moe"):
        styles = {style + " ": lambda kind=kind: nets.NETS[name](kind) for style, kind in nets.CONV_MOES.items()}
    if name.startswith("vit"):
        styles = {style + " ": lambda fused=fused: nets.NETS[name](fused=fused) for style, fused in nets.ATTENTIONS.items()}
    for make in styles.values():
        nets.check(name, make().eval(), torch.rand(2, 3, 32, 32), request["macs"], request["params"])
    if not name.startswith("vit"):
        return contest_of(styles, batch)
    nets.check_last_for_token(name)
    shortcut = {style: lambda make=make: nets.for_token(make()) for style, make in styles.items()}
    return Contests({"": contest_of(styles, batch), SHORTCUT: contest_of(shortcut, batch)})


def layer_work(make, tokens, width, compiled):
    torch.manual_seed(1)
    layer = make()
    run = torch.compile(layer, dynamic=True) if compiled else layer
    x, dy = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, width)

    def step():
        x.grad = None
        layer.zero_grad(set_to_none=True)
        run(x).backward(dy)

    return step


def layer_contest(request):
    d, h, experts, k, tokens = (request[key] for key in ("width", "hidden", "experts", "k", "tokens"))
    makers = {}
    for compiled in (False, True):
        mode = "compile" if compiled else "eager"
        for style, kind in nets.MLP_MOES.items():
            make = lambda kind=kind: kind(d, h, experts, k, nets.MlpExpert)
            makers[f"{style} {mode}"] = lambda make=make, compiled=compiled: layer_work(make, tokens, d, compiled)
    return Contest(makers)


def dense_contest(request):
    d, h, k, tokens = (request[key] for key in ("width", "hidden", "k", "tokens"))
    make = lambda: nets.DenseMlp(d, k * h)
    return Contest({mode: lambda mode=mode: layer_work(make, tokens, d, mode == "compile") for mode in ("eager", "compile")})


CONTESTS = {"train": train_contest, "layer": layer_contest, "dense layer": dense_contest}
running = {}


def versions():
    onednn = re.search(r"MKL-DNN v([0-9.]+)", torch.__config__.show())
    return {"PyTorch": torch.__version__, "oneDNN in PyTorch": onednn.group(1) if onednn else "unknown"}


def answer(request):
    if request["work"] == "versions":
        return versions()
    torch.set_num_threads(request["threads"])
    torch._dynamo.config.recompile_limit = 64
    key = tuple(sorted((k, v) for k, v in request.items() if k != "rounds"))
    if key not in running:
        running.clear()  # the nets of other work would only fill the caches
        torch._dynamo.reset()
        running[key] = CONTESTS[request["work"]](request)
    return running[key].turn(request["rounds"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", choices=[*nets.NETS, "idle"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--format", choices=FORMATS, default="contiguous")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if not args.memory:
        serve(answer)
        return
    torch.set_num_threads(args.threads)
    if args.memory == "idle":
        return
    step = training(nets.NETS[args.memory], args.batch, args.format, False)
    for _ in range(4):
        step()


if __name__ == "__main__":
    main()

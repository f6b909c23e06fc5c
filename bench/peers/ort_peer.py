# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's side of the benchmark: inference of nets exported from the same PyTorch nets, batch-norm folded.

Requests: {"work": "versions"} | {"work": "infer", "net", "batch", "rounds", "threads", "macs", "params"}
"""
import io

import numpy
import onnxruntime as ort
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

import nets
from serve import SHORTCUT, Contest, Contests, serve


def fold(module):
    """Every convolution with its batch-norm becomes one convolution."""
    for name, child in module.named_children():
        if isinstance(child, nets.ConvNorm):
            setattr(module, name, fuse_conv_bn_eval(child[0], child[1]))
        else:
            fold(child)
    return module


def export(name, batch, macs, params, shortcut=False):
    torch.manual_seed(1)
    net = nets.NETS[name]().eval()
    x = torch.rand(batch, 3, 32, 32)
    nets.check(name, net, x, macs, params)
    if shortcut:
        nets.check_last_for_token(name)
        nets.for_token(net)
    with torch.no_grad():
        expected = net(x).numpy()
        model = io.BytesIO()
        torch.onnx.export(fold(net), (x,), model, dynamo=False, input_names=["x"], output_names=["y"], opset_version=17)
    return model.getvalue(), x.numpy(), expected


def session_work(model, x, expected, threads, spinning):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    got = session.run(None, {"x": x})[0]
    if not numpy.allclose(got, expected, rtol=1e-3, atol=1e-4):
        raise SystemExit("ONNX Runtime's result differs from PyTorch's")
    return lambda: session.run(None, {"x": x})


def contest_of(request, shortcut=False):
    model, x, expected = export(request["net"], request["batch"], request["macs"], request["params"], shortcut)
    makers = {}
    for threads in sorted({request["threads"], 1}, reverse=True):
        for spinning in (True, False) if threads > 1 else (True,):
            variant = f"{threads} thread{'s' if threads > 1 else ''}{'' if spinning else ' no spinning'}"
            makers[variant] = lambda threads=threads, spinning=spinning: session_work(model, x, expected, threads, spinning)
    return Contest(makers)


def infer_contest(request):
    if not request["net"].startswith("vit"):
        return contest_of(request)
    return Contests({"": contest_of(request), SHORTCUT: contest_of(request, True)})


running = {}


def answer(request):
    if request["work"] == "versions":
        return {"ONNX Runtime": ort.__version__}
    key = tuple(sorted((k, v) for k, v in request.items() if k != "rounds"))
    if key not in running:
        running.clear()
        running[key] = infer_contest(request)
    return running[key].turn(request["rounds"])


if __name__ == "__main__":
    serve(answer)

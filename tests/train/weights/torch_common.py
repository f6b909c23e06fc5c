# SPDX-License-Identifier: Apache-2.0
"""What the scripts here share: nets of torchvision and timm with random weights, and what they say to random images."""
import torch
from safetensors.torch import save_file


def randomise(model, seed):
    """Weights that every layer matters with: no scale near 0, running statistics of their own."""
    generator = torch.Generator().manual_seed(seed)

    def normal(t, mean, sd):
        t.copy_(torch.randn(t.shape, generator=generator) * sd + mean)

    with torch.no_grad():
        for name, t in model.state_dict().items():
            if name.endswith("running_var"):
                t.copy_(torch.rand(t.shape, generator=generator) + 0.5)
            elif name.endswith("num_batches_tracked"):
                continue
            elif name.endswith(("gamma", "layer_scale")):
                normal(t, 0.5, 0.1)
            elif t.dim() > 1 and "pos_embed" not in name and "token" not in name:
                normal(t, 0, t[0].numel() ** -0.5)
            elif name.endswith("weight"):
                normal(t, 1, 0.1)
            else:
                normal(t, 0, 0.1)
    return model.eval()


def stored(model, dtype):
    """The model's tensors as the file has them; the model keeps what can be read back from there."""
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()})
    return {k: v.contiguous() for k, v in state.items()}


def write(model, weights, expected, side, images, seed=5, dtype=torch.float32):
    """weights: the file as its users have it. expected: images [n][h][w][c] and the logits."""
    save_file(stored(model, dtype), weights)
    x = torch.randn((images, 3, side, side), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model.double()(x.double()).float()
    save_file({"x": x.permute(0, 2, 3, 1).contiguous(), "logits": logits.contiguous()}, expected)

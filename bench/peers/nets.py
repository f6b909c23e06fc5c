# SPDX-License-Identifier: Apache-2.0
"""Fulcrum's nets and its mixtures as people write them in PyTorch: the same layers, parameters and MACs."""
import torch
from torch import nn
from torch.nn import functional as F


def conv(cin, cout, kernel=3, stride=1, groups=1, bias=False):
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=bias)


class ConvNorm(nn.Sequential):
    """Convolution and batch-norm."""

    def __init__(self, cin, cout, kernel=3, stride=1, groups=1):
        super().__init__(conv(cin, cout, kernel, stride, groups), nn.BatchNorm2d(cout))


class Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x))))))"""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.first, self.second = ConvNorm(cin, cout, 3, stride), ConvNorm(cout, cout)
        self.short = ConvNorm(cin, cout, 1, stride) if stride != 1 or cin != cout else nn.Identity()

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x), inplace=True)) + self.short(x), inplace=True)


class DwBlock(nn.Module):
    """relu(bn(pointwise(relu(bn(depthwise(x))))) (+ x))"""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.depthwise, self.pointwise = ConvNorm(cin, cin, 3, stride, cin), ConvNorm(cin, cout, 1)
        self.residual = stride == 1 and cin == cout

    def forward(self, x):
        y = self.pointwise(F.relu(self.depthwise(x), inplace=True))
        return F.relu(y + x if self.residual else y, inplace=True)


class Net(nn.Module):
    """Stem, stages of blocks (width doubles, the first block from stage 2 on halves the map), what follows them, classifier."""

    def __init__(self, block, width, stages, tail=None, classes=10):
        super().__init__()
        layers, cin = [], width
        for stage, blocks in enumerate(stages):
            for i in range(blocks):
                layers.append(block(cin, width << stage, 2 if stage > 0 and i == 0 else 1))
                cin = width << stage
        self.stem = ConvNorm(3, width)
        self.layers = nn.Sequential(*layers, *([tail] if tail else []))
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        return self.fc(self.layers(F.relu(self.stem(x), inplace=True)).mean((2, 3)))


class ConvExpert(nn.Sequential):
    """conv 3x3 - norm over the image - relu - conv 3x3"""

    def __init__(self, d, h):
        super().__init__(conv(d, h), nn.GroupNorm(1, h), nn.ReLU(inplace=True), conv(h, d, bias=True))


class MlpExpert(nn.Sequential):
    def __init__(self, d, h):
        super().__init__(nn.Linear(d, h), nn.GELU(), nn.Linear(h, d))


class LoopMoE(nn.Module):
    """y = x + sum of gate * expert(x), as `transformers` writes it: one expert after the other, torch.where, index_add_."""

    def __init__(self, d, h, experts, k, expert):
        super().__init__()
        self.router = nn.Linear(d, experts, bias=False)
        self.experts = nn.ModuleList(expert(d, h) for _ in range(experts))
        self.k = k

    def route(self, x):
        tokens = x if x.dim() == 2 else x.mean((2, 3))
        return torch.topk(torch.softmax(self.router(tokens), -1), self.k, -1)

    def forward(self, x):
        gate, chosen = self.route(x)
        y = x.clone()
        mask = F.one_hot(chosen, len(self.experts)).permute(2, 1, 0)
        for e, expert in enumerate(self.experts):
            rank, token = torch.where(mask[e])
            if token.numel():
                g = gate[token, rank].view(-1, *[1] * (x.dim() - 1))
                y.index_add_(0, token, expert(x[token]) * g)
        return y


class SortedMoE(LoopMoE):
    """The same with the pairs sorted by expert once: one gather, experts on contiguous pieces, one index_add_."""

    def forward(self, x):
        gate, chosen = self.route(x)
        order = torch.argsort(chosen.flatten())
        token = order // self.k
        counts = torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()
        parts = [e(p) for e, p in zip(self.experts, x[token].split(counts)) if len(p)]
        g = gate.flatten()[order].view(-1, *[1] * (x.dim() - 1))
        return x.index_add(0, token, torch.cat(parts) * g)


class GroupedMlpMoE(nn.Module):
    """MLP experts with stacked weights: pairs sorted by expert and padded to the fullest one, two batched products."""

    def __init__(self, d, h, experts, k, expert=None):
        super().__init__()
        self.router = nn.Linear(d, experts, bias=False)
        self.w1, self.b1 = nn.Parameter(torch.randn(experts, d, h) * d**-0.5), nn.Parameter(torch.zeros(experts, 1, h))
        self.w2, self.b2 = nn.Parameter(torch.randn(experts, h, d) * h**-0.5), nn.Parameter(torch.zeros(experts, 1, d))
        self.k = k

    def product(self, x, token, expert, counts):
        """[pairs][d], sorted by expert -> the experts' outputs in the same order"""
        starts = torch.cumsum(counts, 0) - counts
        slot = torch.arange(len(token)) - starts[expert]
        padded = x.new_zeros(len(counts), int(counts.max()), x.shape[1]).index_put((expert, slot), x[token])
        h = F.gelu(torch.baddbmm(self.b1, padded, self.w1))
        return torch.baddbmm(self.b2, h, self.w2)[expert, slot]

    def forward(self, x):
        gate, chosen = torch.topk(torch.softmax(self.router(x), -1), self.k, -1)
        flat = chosen.flatten()
        order = torch.argsort(flat)
        token, expert = order // self.k, flat[order]
        out = self.product(x, token, expert, torch.bincount(flat, minlength=len(self.w1)))
        return x.index_add(0, token, out * gate.flatten()[order, None])


class GroupedMmMoE(GroupedMlpMoE):
    """The same with PyTorch's grouped product instead of padding."""

    def product(self, x, token, expert, counts):
        ends = torch.cumsum(counts, 0).to(torch.int32)
        h = F.gelu(F.grouped_mm(x[token], self.w1, offs=ends) + self.b1[expert, 0])
        return F.grouped_mm(h, self.w2, offs=ends) + self.b2[expert, 0]


class DenseMlp(nn.Sequential):
    def __init__(self, d, h):
        super().__init__(nn.Linear(d, h), nn.GELU(), nn.Linear(h, d))


class Attention(nn.Module):
    """Multi-head self-attention, by PyTorch's fused function or by products and a softmax."""

    def __init__(self, d, heads, fused):
        super().__init__()
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.heads, self.fused = heads, fused

    def first_asks(self, x):
        """For the first token alone: its query takes the projections of keys and values upon itself (the bias of keys adds the same
        to all scores)."""
        n, t, d = x.shape
        weight, bias = self.qkv.weight.view(3, self.heads, -1, d), self.qkv.bias.view(3, self.heads, -1)
        q = torch.einsum("nd,hed->nhe", x[:, 0], weight[0]) + bias[0]
        scores = torch.einsum("nhe,hed->nhd", q, weight[1]) @ x.transpose(1, 2)
        mean = torch.softmax(scores * (d // self.heads) ** -0.5, -1) @ x
        y = torch.einsum("nhd,hed->nhe", mean, weight[2]) + bias[2]
        return self.proj(y.reshape(n, 1, d))

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = torch.softmax(q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5, -1) @ v
        return self.proj(y.transpose(1, 2).reshape(n, -1, d))

    def macs(self, x):
        """Of the two products between the tokens."""
        n, t, d = x.shape
        return 2 * n * t * t * d


class VitBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); first_only: what these give the first token."""

    def __init__(self, d, heads, fused):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-6), nn.LayerNorm(d, eps=1e-6)
        self.attn, self.mlp = Attention(d, heads, fused), DenseMlp(d, 4 * d)

    def forward(self, x, first_only=False):
        x = x[:, :1] + self.attn.first_asks(self.norm1(x)) if first_only else x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Patches, class token, learned positions, blocks, norm, classifier. With last_for_token the last block makes nothing but what
    the classifier reads of it, the class token: the same function."""

    def __init__(self, d=192, depth=6, heads=3, side=32, patch=4, classes=10, fused=True):
        super().__init__()
        self.last_for_token = False
        self.embed = nn.Conv2d(3, d, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2 + 1, d))
        self.blocks = nn.Sequential(*(VitBlock(d, heads, fused) for _ in range(depth)))
        self.norm, self.fc = nn.LayerNorm(d, eps=1e-6), nn.Linear(d, classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions
        if self.last_for_token:
            x = self.blocks[-1](self.blocks[:-1](x), True)
        else:
            x = self.blocks(x)
        return self.fc(self.norm(x[:, 0]))


NETS = {
    "vit_tiny": Vit,
    "resnet8": lambda: Net(Block, 16, [1, 1, 1]),
    "resnet20": lambda: Net(Block, 16, [3, 3, 3]),
    "resnet18": lambda: Net(Block, 64, [2, 2, 2, 2]),
    "dwnet": lambda: Net(DwBlock, 32, [1, 2, 3, 2]),
    "resnet20-moe": lambda moe=LoopMoE: Net(Block, 16, [3, 3, 3], moe(64, 128, 8, 2, ConvExpert)),
}
CONV_MOES = {"loop": LoopMoE, "sorted": SortedMoE}
ATTENTIONS = {"sdpa": True, "products": False}
MLP_MOES = {"loop": LoopMoE, "sorted": SortedMoE, "bmm": GroupedMlpMoE, "grouped_mm": GroupedMmMoE}


def for_token(vit):
    vit.last_for_token = True
    return vit


def check_last_for_token(name):
    """The shortcut must not change what the net gives."""
    vit, x = NETS[name]().eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        if not torch.allclose(vit(x), for_token(vit)(x), rtol=1e-4, atol=1e-5):
            raise SystemExit(f"{name}: with the last block made for the class token alone, PyTorch's net gives something else")


def count(net, x):
    """(trainable parameters, MACs an image of convolutions, linear layers and attention as they really run on x)"""
    macs, hooks = 0, []

    def add(module, inputs, output):
        nonlocal macs
        macs += module.macs(inputs[0]) if isinstance(module, Attention) else output.numel() * module.weight[0].numel()

    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, Attention)):
            hooks.append(module.register_forward_hook(add))
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in net.parameters() if p.requires_grad), macs / len(x)


def check(name, net, x, macs, params):
    """What ours says of the same net must be true of this one."""
    mine = count(net, x)
    if (round(mine[1]), mine[0]) != (macs, params):
        raise SystemExit(f"{name}: PyTorch's net has {mine[1]:.0f} MACs and {mine[0]} parameters, ours {macs} and {params}")

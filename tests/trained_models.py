"""Small models of many families, written as one finds them, with weights that look trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(taken: int, given: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(taken, given, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(given))


class BasicBlock(nn.Module):
    """Of ResNet, as in torchvision."""

    expansion = 1

    def __init__(self, taken: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(taken, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = conv_norm(taken, planes, 1, stride) if stride != 1 or taken != planes else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """Of ResNet, as in torchvision."""

    expansion = 4

    def __init__(self, taken: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        given = planes * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(taken, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, given, 1, bias=False), nn.BatchNorm2d(given)
        self.downsample = conv_norm(taken, given, 1, stride) if stride != 1 or taken != given else None

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """As in torchvision; `ResNet(BasicBlock, (2, 2, 2, 2), 64, 1000)` is ResNet-18."""

    def __init__(self, block: type[BasicBlock | Bottleneck], blocks: tuple[int, ...], base: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(base), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        taken = base
        for number, count in enumerate(blocks):
            planes, layers = base * 2**number, []
            for k in range(count):
                layers.append(block(taken, planes, 2 if number and not k else 1))
                taken = planes * block.expansion
            setattr(self, f"layer{number + 1}", nn.Sequential(*layers))
        self.stages = len(blocks)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(taken, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(self.stages):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class InvertedResidual(nn.Module):
    """Of MobileNetV2."""

    def __init__(self, taken: int, given: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = taken * expand
        self.use_res_connect = stride == 1 and taken == given
        self.conv = nn.Sequential(
            *conv_norm(taken, inner, 1), nn.ReLU6(), *conv_norm(inner, inner, 3, stride, inner), nn.ReLU6(),
            *conv_norm(inner, given, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNet(nn.Module):
    """As MobileNetV2."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 16, 2, 2)]
        self.features = nn.Sequential(nn.Sequential(*conv_norm(3, 8, 3, 2), nn.ReLU6()), *blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(x.reshape(x.shape[0], -1))


def vgg() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *conv_norm(8, 16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 16, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 5),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 16),
        nn.BatchNorm1d(16),
        nn.Tanh(),
        nn.Linear(16, 24),
        nn.LayerNorm(24),
        nn.GELU(),
        nn.Linear(24, 3),
    )


class MixerBlock(nn.Module):
    """Of MLP-Mixer."""

    def __init__(self, tokens: int, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.of_tokens = nn.Sequential(nn.Linear(tokens, 8), nn.GELU(), nn.Linear(8, tokens))
        self.of_channels = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.of_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.of_channels(self.norm2(x))


class Mixer(nn.Module):
    """As MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.Sequential(*(MixerBlock(16, 16) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class ConvNeXtBlock(nn.Module):
    """Of ConvNeXt, with the scale of a layer as a parameter."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(size, size, 7, padding=3, groups=size), nn.LayerNorm(size, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size)
        self.gamma = nn.Parameter(torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    blocks = [ConvNeXtBlock(8) for _ in range(3)]
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(8, 5))


class Attention(nn.Module):
    """Of a vision transformer, with queries, keys and values in one layer."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (size // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(B, N, C))


class ViTBlock(nn.Module):
    """Of a vision transformer."""

    def __init__(self, size: int, own: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attn = Attention(size, 4) if own else nn.MultiheadAttention(size, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y = self.attn(y) if isinstance(self.attn, Attention) else self.attn(y, y, y, need_weights=False)[0]
        x = x + y
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A vision transformer with a class token, of torch's attention or its own."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.ModuleList(ViTBlock(16, own) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class CausalAttention(nn.Module):
    """Of nanoGPT."""

    def __init__(self, size: int, heads: int, length: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.n_head, self.n_embd = heads, size
        self.register_buffer("bias", torch.tril(torch.ones(length, length)).view(1, 1, length, length))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = (F.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class GPTBlock(nn.Module):
    """Of nanoGPT."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attn = CausalAttention(size, 4, 8)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """As nanoGPT, whose embedding and head are one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, 16), nn.Embedding(8, 16)
        self.h = nn.ModuleList(GPTBlock(16) for _ in range(3))
        self.ln_f, self.lm_head = nn.LayerNorm(16), nn.Linear(16, 11, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Tensor:
        _, T = idx.size()
        assert T <= 8, "too long"
        x = self.wte(idx) + self.wpe(torch.arange(0, T, dtype=torch.long, device=idx.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class LlamaBlock(nn.Module):
    """Of a decoder as Hugging Face has it: heads by their length, a gated feed-forward part."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.head_dim = size // heads
        self.input_norm, self.post_norm = nn.RMSNorm(size), nn.RMSNorm(size)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(size, size, bias=False) for _ in range(3))
        self.o_proj = nn.Linear(size, size, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(size, 24, bias=False), nn.Linear(size, 24, bias=False)
        self.down_proj = nn.Linear(24, size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        y = self.input_norm(hidden)
        shape = (*y.shape[:-1], -1, self.head_dim)
        q, k, v = (layer(y).view(shape).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        hidden = hidden + self.o_proj(y.reshape(*y.shape[:2], -1))
        y = self.post_norm(hidden)
        return hidden + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class Llama(nn.Module):
    """A decoder as Hugging Face has it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens, self.layers = nn.Embedding(11, 16), nn.ModuleList(LlamaBlock(16, 4) for _ in range(2))
        self.norm, self.lm_head = nn.RMSNorm(16), nn.Linear(16, 11, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embed_tokens(ids)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.lm_head(self.norm(hidden))


class Encoder(nn.Module):
    """Of torch's own encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(x)).mean(1))


class SqueezeExcite(nn.Module):
    """Scales of channels out of their means, around a convolution."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(size, size, 3, padding=1, bias=False), nn.BatchNorm2d(size)
        self.fc1, self.fc2 = nn.Conv2d(size, size // 2, 1), nn.Conv2d(size // 2, size, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv(x)))
        scale = torch.sigmoid(self.fc2(F.relu(self.fc1(y.mean((2, 3), keepdim=True)))))
        return x + scale * y


def squeeze_excite() -> nn.Module:
    blocks = [SqueezeExcite(8) for _ in range(2)]
    return nn.Sequential(*conv_norm(3, 8), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


class DenseLayer(nn.Module):
    """Of DenseNet: what it makes is joined with what it takes."""

    def __init__(self, taken: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(taken), nn.Conv2d(taken, 2 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


def densenet() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, 2, 1), DenseLayer(8, 4), DenseLayer(12, 4), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet-basic": lambda: ResNet(BasicBlock, (3, 2), 8, 5),
    "resnet-bottleneck": lambda: ResNet(Bottleneck, (2, 2), 4, 5),
    "mobilenetv2": MobileNet,
    "vgg": vgg,
    "mlp": mlp,
    "mixer": Mixer,
    "convnext": convnext,
    "densenet": densenet,
    "vit-own-attention": lambda: ViT(own=True),
    "vit-torch-attention": lambda: ViT(own=False),
    "gpt": GPT,
    "llama": Llama,
    "transformer-encoder": Encoder,
    "squeeze-excite": squeeze_excite,
}
IDS = ("gpt", "llama", "transformer-encoder")


def make(family: str) -> tuple[nn.Module, Tensor]:
    """A model in float64 and evaluation, of statistics and scales that look trained, and a minibatch."""
    torch.manual_seed(0)
    model = FAMILIES[family]().double().eval()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "norm" in name or "bn" in name or "running" in name or (tensor.dim() == 1 and tensor.is_floating_point()):
            with torch.no_grad():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.is_floating_point() else tensor)
    if family in IDS:
        return model, torch.randint(11, (3, 6))
    return model, torch.randn(3, 12, dtype=torch.float64) if family == "mlp" else torch.randn(3, 3, 16, 16).double()

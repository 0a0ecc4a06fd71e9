"""EfficientNet-Lite0: the network that is trained here and that the endpoint serves.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"; the Lite variant drops
squeeze-and-excitation and replaces swish by ReLU6, which makes it quick on a CPU. The definition is our own, so that
the artifact needs nothing but torch, and its parameters lie in the order of the published ImageNet weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Step = Callable[[Tensor], Tensor]

FEATURES = 1280
STEM_CHANNELS = 32


class Stage(NamedTuple):
    """One row of the paper's table 1: `repeats` blocks, of which only the first has `stride` and changes the width."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Build padding, convolution and batch normalization as TensorFlow's "same" convolution computes them.

    For an even input and stride 2, "same" pads one pixel more after than before; torch's symmetric padding would shift
    the grid that the ImageNet weights were learned on.
    """
    total = kernel - stride
    padding: list[nn.Module] = []
    if total > 0 and stride > 1:
        before, after = total // 2, total - total // 2
        padding, total = [nn.ZeroPad2d((before, after, before, after))], 0
    convolve = nn.Conv2d(inputs, outputs, kernel, stride, total // 2, groups=groups, bias=False)
    return [*padding, convolve, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]


class Block(nn.Module):
    """Inverted residual block: widen, filter each channel by itself, narrow (Sandler et al. 2018, MobileNetV2)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        widen = [*convolution(inputs, inner), nn.ReLU6(inplace=True)] if expand > 1 else []
        depthwise = [*convolution(inner, inner, kernel, stride, groups=inner), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*widen, *depthwise, *convolution(inner, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Network(nn.Module):
    """The classifier: images in, one logit a class out."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [*convolution(3, STEM_CHANNELS, 3, 2), nn.ReLU6(inplace=True)]
        width = STEM_CHANNELS
        for stage in STAGES:
            for i in range(stage.repeats):
                layers.append(Block(width, stage.channels, stage.kernel, stage.stride if i == 0 else 1, stage.expand))
                width = stage.channels
        layers += [*convolution(width, FEATURES), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """Map normalized images [N, 3, S, S] (S a multiple of 32) to pooled features [N, 1280]."""
        pooled: Tensor = self.body(x).mean(dim=(2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images [N, 3, S, S] to logits [N, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


def two_look_logits(network: Step, whole: Tensor, close: Tensor) -> Tensor:
    """Average the logits of whole images [N, 3, S, S] and of mirrored close-ups of them [N, 3, T, T]: [N, classes].

    A vehicle that is mirrored or nearer is the same vehicle; two looks seldom err alike.
    """
    logits: Tensor = (network(whole) + network(close.flip(3))) / 2
    return logits


def load_imagenet_body(network: Network, path: str) -> None:
    """Fill the body of `network` with published ImageNet weights; the head stays as it is.

    The published file names its parameters differently but lists them in the same order, so they are paired by
    position; a differing shape means it is not the file that this network belongs to.

    Raises:
        ValueError: the file's tensors do not fit this network.
    """
    published = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in published.items() if not name.startswith("_fc.")]
    own = network.body.state_dict()
    if [t.shape for t in tensors] != [t.shape for t in own.values()]:
        raise ValueError(f"{path} does not hold the weights of EfficientNet-Lite0")
    network.body.load_state_dict(dict(zip(own, tensors, strict=True)))


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalization into the convolution before it, in place (call `eval()` first).

    gamma (w x - mean) / sqrt(var + eps) + beta is itself a convolution with a bias: the same numbers in less time.
    """
    for child in module.children():
        fold_batch_norm(child)
    if not isinstance(module, nn.Sequential):
        return
    for i in range(1, len(module)):
        convolve, norm = module[i - 1], module[i]
        if isinstance(convolve, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module[i - 1], module[i] = fuse_conv_bn_eval(convolve, norm), nn.Identity()


def without_modules(network: Network) -> Step:
    """Turn a folded network into plain function calls: the same numbers.

    For one small image the modules around the computation cost as much as a tenth of it.
    """
    body, head = chain(steps(network.body)), network.head
    return lambda x: head(body(x).mean(dim=(2, 3)))


def steps(layers: nn.Module) -> list[Step]:
    """Turn the layers of a folded network into functions, which may overwrite what they are given."""
    found: list[Step] = []
    for layer in layers.children():
        if isinstance(layer, nn.Conv2d):
            arguments = (layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
            found.append(partial(convolve, arguments))
        elif isinstance(layer, nn.ReLU6):
            found.append(lambda x: x.clamp_(0, 6))
        elif isinstance(layer, nn.ZeroPad2d):
            found.append(partial(torch.constant_pad_nd, pad=layer.padding))
        elif isinstance(layer, Block):
            inner = chain(steps(layer.layers))
            found.append(partial(add, inner) if layer.residual else inner)
    return found


def chain(functions: Sequence[Step]) -> Step:
    """Make one function of several."""

    def run(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return run


def convolve(arguments: tuple[Any, ...], x: Tensor) -> Tensor:
    """Apply a convolution."""
    return torch.conv2d(x, *arguments)


def add(inner: Step, x: Tensor) -> Tensor:
    """Add to an image what a function makes of it."""
    return inner(x).add_(x)

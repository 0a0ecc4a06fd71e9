"""Random variations of training images: the same vehicle nearer, farther, aside, mirrored, darker, tilted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ZOOM, STRETCH = 0.2, 0.1  # standard sizes vary by up to exp(0.2) = 22 % and exp(0.1) = 11 %
SHIFT = 0.15  # of half the side
TILT = 0.15  # radians, 9 degrees
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.2, 0.4


def vary(images: Tensor, side: int, kind: str, dice: torch.Generator) -> Tensor:
    """Vary normalized images and bring them to `side` px.

    Args:
        images: [N, 3, S, S].
        side: Side of the result in px.
        kind: One of `hyperparameters.AUGMENTATIONS`.
        dice: The source of randomness.

    Returns:
        [N, 3, side, side].
    """
    count = len(images)
    transform, color = kind == "crop_color_transform", kind in ("crop_color", "crop_color_transform")
    strength = 0.0 if kind == "none" else 1.0

    def random(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=dice) * (high - low) + low

    zoom = torch.exp(random(-ZOOM, ZOOM) * strength)
    stretch = torch.exp(random(-STRETCH, STRETCH) * transform)
    tilt = random(-TILT, TILT) * transform
    mirror = torch.where(random(0, 1) * strength > 0.5, -1.0, 1.0)  # noqa: PLR2004 - half of them
    matrix = torch.zeros(count, 2, 3)  # maps a place in the result to the place in the image it shows
    matrix[:, 0, 0] = zoom * stretch * torch.cos(tilt) * mirror
    matrix[:, 0, 1] = -zoom * torch.sin(tilt)
    matrix[:, 1, 0] = zoom * torch.sin(tilt) * mirror
    matrix[:, 1, 1] = zoom / stretch * torch.cos(tilt)
    matrix[:, :, 2] = torch.stack([random(-SHIFT, SHIFT), random(-SHIFT, SHIFT)], dim=1) * strength
    grid = functional.affine_grid(matrix, [count, 3, side, side], align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return recolor(images, random) if color else images


def recolor(images: Tensor, random: Callable[[float, float], Tensor]) -> Tensor:
    """Vary contrast, brightness and saturation of [N, 3, S, S]; `random(low, high)` draws one number an image."""

    def each(low: float, high: float) -> Tensor:
        return random(low, high).view(-1, 1, 1, 1)

    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * each(1 - CONTRAST, 1 + CONTRAST) + mean + each(-BRIGHTNESS, BRIGHTNESS)
    gray = images.mean(dim=1, keepdim=True)
    return gray + (images - gray) * each(1 - SATURATION, 1 + SATURATION / 2)

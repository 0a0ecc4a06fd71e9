"""One course of learning: a network, an average of it, and all that decides its next step."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import images
import torch
from augmentation import vary
from batches import batch_of
from examples import Examples
from hyperparameters import Hyperparameters
from network import Network
from torch.nn import functional

HEAD_RATE = 20 / 3  # the head's learning rate is this many times the body's
LABEL_SMOOTHING = 0.1  # some labels are wrong; do not insist on certainty
AVERAGING = 0.95  # share of the averaged weights that stays at each step
SMALL_EPOCHS, SMALL_SIDE = 2 / 3, 0.75  # in the first two thirds of the epochs, half the steps see small images
SEED_STRIDE = 1_000_003  # between the branches' seeds, so that jobs with neighbouring seeds share no branch
PIXELS_AT_ONCE = 300_000  # in a gradient computation; a mini batch beyond is computed in parts, within 1 GB of memory


class Branch:
    """One course of learning from the common start, with its own order and variations of the images.

    At first, every other step sees small images: half of all that is learned then costs half as much. The branches take
    turns, so that each always has as much to do as the other.
    """

    def __init__(self, beginning: Network, settings: Hyperparameters, train: Examples, number: int) -> None:
        self.network = copy.deepcopy(beginning)
        self.averaged = copy.deepcopy(beginning)
        self.settings, self.train = settings, train
        self.labels = torch.from_numpy(train.labels)
        self.number = number
        self.dice = torch.Generator().manual_seed(settings.seed + SEED_STRIDE * number)
        rate = settings.learning_rate
        groups = [
            {"params": list(self.network.body.parameters()), "lr": rate},
            {"params": list(self.network.head.parameters()), "lr": rate * HEAD_RATE},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self.size = min(settings.mini_batch_size, len(train))
        self.per_epoch = len(train) // self.size
        steps = self.per_epoch * settings.epochs
        factor = functools.partial(learning_rate_factor, steps=steps, steps_per_epoch=self.per_epoch)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def learn(self, epoch: int, side: int) -> tuple[float, float]:
        """Learn for one epoch. Returns the mean loss and the accuracy on the images as they were shown."""
        sides = sides_of_steps(epoch, self.settings.epochs, side)
        self.network.train()
        order = torch.randperm(len(self.train), generator=self.dice).numpy()
        seen = self.per_epoch * self.size
        losses, hits = 0.0, 0
        for step in range(self.per_epoch):
            chosen = order[step * self.size : (step + 1) * self.size]
            step_side = sides[(step + self.number) % len(sides)]
            at_once = max(1, PIXELS_AT_ONCE // step_side**2)
            batch = batch_of(self.train, chosen, side)
            batch = vary(batch, step_side, self.settings.augmentation_type, self.dice)
            self.optimizer.zero_grad()
            parts = zip(torch.split(batch, at_once), torch.split(self.labels[chosen], at_once), strict=True)
            for part, target in parts:
                scores = self.network(part.contiguous(memory_format=torch.channels_last))
                loss = functional.cross_entropy(scores, target, reduction="sum", label_smoothing=LABEL_SMOOTHING)
                (loss / self.size).backward()  # type: ignore[no-untyped-call]
                losses += loss.item()
                hits += int((scores.argmax(1) == target).sum())
            self.optimizer.step()
            self.schedule.step()
            average(self.averaged, self.network)
        return losses / seen, hits / seen

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "dice": self.dice.get_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another branch's `state` was taken."""
        for part in ("network", "averaged", "optimizer", "schedule"):
            getattr(self, part).load_state_dict(state[part])
        self.dice.set_state(state["dice"])


def sides_of_steps(epoch: int, epochs: int, side: int) -> tuple[int, ...]:
    """Sides in px of the training images in an epoch counted from 0; the steps take them in turns.

    Progressive resizing saves time: three quarters of the side are little more than half the pixels, and what is
    learned there carries over. See Tan and Le 2021, "EfficientNetV2", section 4.
    """
    if epoch >= SMALL_EPOCHS * epochs:
        return (side,)
    return side, round(side * SMALL_SIDE / images.STRIDE) * images.STRIDE


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

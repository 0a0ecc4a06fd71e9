"""Train the classifier in a SageMaker container (script mode) and leave everything that serving needs.

    python train.py --epochs 8 --num_classes 2 --classes bicycle,motorcycle --image_shape 3,32,32

Inputs and outputs are found through SageMaker's environment variables (see `Places`); metrics are printed, one line an
epoch, for `MetricDefinitions` to read. The learning itself is in learning.py.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import artifact
import hyperparameters
import manifest
from errors import TrainingError
from examples import read_channel

log = logging.getLogger("train")


@dataclass(frozen=True)
class Places:
    """Where SageMaker puts the inputs and collects the outputs."""

    train: Path
    validation: Path
    train_lst: Path
    validation_lst: Path
    model: Path
    output: Path
    checkpoints: Path
    threads: int

    @classmethod
    def from_environment(cls) -> Places:
        """Read SageMaker's variables; where one is absent, take its documented place under /opt/ml."""

        def place(variable: str, default: str) -> Path:
            return Path(os.environ.get(variable, f"/opt/ml/{default}"))

        return cls(
            train=place("SM_CHANNEL_TRAIN", "input/data/train"),
            validation=place("SM_CHANNEL_VALIDATION", "input/data/validation"),
            train_lst=place("SM_CHANNEL_TRAIN_LST", "input/data/train_lst"),
            validation_lst=place("SM_CHANNEL_VALIDATION_LST", "input/data/validation_lst"),
            model=place("SM_MODEL_DIR", "model"),
            output=place("SM_OUTPUT_DIR", "output"),
            checkpoints=place("SM_CHECKPOINT_DIR", "checkpoints"),
            threads=int(os.environ.get("SM_NUM_CPUS") or os.cpu_count() or 1),
        )


def run(arguments: Sequence[str], places: Places) -> None:
    """Train from the command line's hyperparameters and write the artifact.

    Every input is checked before torch is imported, so a mistake costs a second. Where SageMaker gives a folder for
    checkpoints, as it does to spot training, each epoch leaves one there, and the job goes on from the one it finds.

    Raises:
        TrainingError: an input is wrong.
    """
    began = time.monotonic()
    settings, remarks = hyperparameters.parse(arguments)
    for remark in remarks:
        log.info(remark)
    train_rows = manifest.read(places.train_lst, "train.lst", settings.num_classes)
    validation_rows = manifest.read(places.validation_lst, "validation.lst", settings.num_classes)
    labels = {row.label for row in train_rows}
    absent = [name for i, name in enumerate(settings.classes) if i not in labels]
    if absent:
        raise TrainingError(f"The training manifest has no image of class {', '.join(absent)}.")
    if settings.num_training_samples not in (0, len(train_rows)):
        log.info("num_training_samples=%d, but the manifest has %d", settings.num_training_samples, len(train_rows))
    train = read_channel(places.train, train_rows, settings.image_shape)
    validation = read_channel(places.validation, validation_rows, settings.image_shape)
    log.info("Training on %d images, validating on %d, %d classes.", len(train), len(validation), settings.num_classes)

    # By default OpenMP's threads wait for each other by spinning, which makes training three times slower as soon as
    # anything else wants the cores. The variable must be there before torch loads OpenMP.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import checkpoint  # noqa: PLC0415
    import learning  # noqa: PLC0415

    learning.use_threads(places.threads)
    saved = None
    if places.checkpoints.is_dir():
        saved = checkpoint.Checkpoint(places.checkpoints, checkpoint.identity(settings, train, validation))
    fit, seconds_before = learning.fine_tune(settings, train, validation, saved)
    outcome = artifact.Outcome(
        logits=fit.logits,
        labels=validation.labels,
        epoch=fit.epoch,
        train_images=len(train),
        weights_sha256=fit.sha256(),
        seconds=time.monotonic() - began + seconds_before,
    )
    description = artifact.describe(settings, outcome)
    artifact.write(places.model, description)
    fit.save(places.model / artifact.WEIGHTS)
    log.info("chosen:epoch=%d", description["epoch"])
    log.info("chosen:validation:accuracy=%.4f", description["validation_accuracy"])
    log.info("chosen:threshold=%.4f", description["threshold"])
    log.info("chosen:accepted_share=%.4f", description["accepted_share"])
    log.info("training:seconds=%.1f", description["training_seconds"])


def main() -> int:
    """Run as SageMaker does. Returns the exit code; a failure is also written where SageMaker looks for its reason."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    places = Places.from_environment()
    try:
        run(sys.argv[1:], places)
    except Exception as error:
        reason = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
        places.output.mkdir(parents=True, exist_ok=True)
        (places.output / "failure").write_text(reason + "\n", encoding="utf-8")
        if not isinstance(error, TrainingError):
            raise  # unforeseen: the log gets the traceback
        log.error(reason)  # foreseen: one clear line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

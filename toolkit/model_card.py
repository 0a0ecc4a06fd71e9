"""The model card of a release, in Markdown beside the release record: what one should know before relying on it.

All figures are of the test split, which is read once, unless a line says otherwise. What our program has found on the
validation images comes from the artifact's model.json; the built-in algorithm has none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from model_quality.measures import Evaluation, Prediction
from model_quality.release import Release
from toolkit.contact_sheet import contact_sheet
from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.staging import StagedDataset
from toolkit.training import TrainedModel

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
_MOST_MISTAKES = 12
_FEW_TEST_IMAGES = 1000


class ModelCardError(ToolkitError):
    """The card could not be written. The release is recorded."""


@dataclass(frozen=True)
class Facts:
    """What a card tells of."""

    staged: StagedDataset
    model: TrainedModel
    evaluation: Evaluation
    release: Release


def path(environment: Environment, release: Release) -> Path:
    """Return where the card of a release lies."""
    return _folder(environment) / f"{release.identifier}.md"


def write(environment: Environment, facts: Facts) -> Path:
    """Write the card of a release, and a picture of its worst mistakes beside it.

    Args:
        environment: an activated environment.
        facts: what is known of the release.

    Returns:
        The card's path.

    Raises:
        ModelCardError: it cannot be written, or an image of the worst mistakes cannot be read.
    """
    mistakes = facts.evaluation.mistakes(_MOST_MISTAKES)
    s3, staged = environment.client("s3"), facts.staged
    card = path(environment, facts.release)
    picture = card.with_name(f"{card.stem}-mistakes.png")
    try:
        pictures = [
            (
                s3.get_object(Bucket=staged.bucket, Key=f"test/{mistake.file_name}")["Body"].read(),
                _caption(staged.classes, mistake),
            )
            for mistake in mistakes
        ]
        card.parent.mkdir(exist_ok=True)
        if pictures:
            picture.write_bytes(contact_sheet(pictures))
        card.write_text(text(facts, picture.name if pictures else None), encoding="utf-8")
    except (ClientError, BotoCoreError) as error:
        raise ModelCardError(
            f"The release is recorded, but its model card {card} has no pictures to show: {error}.",
            "You need s3:GetObject on test/ in the data bucket.",
        ) from error
    except OSError as error:
        raise ModelCardError(
            f"The release is recorded, but its model card {card} cannot be written: {error.strerror}.",
            "Free some space or correct its folder's permissions.",
        ) from error
    return card


def forget(environment: Environment) -> None:
    """Remove all cards: of an embedded AWS that is no more."""
    shutil.rmtree(_folder(environment), ignore_errors=True)


def text(facts: Facts, picture: str | None) -> str:
    """Return a card.

    Args:
        facts: what is known of the release.
        picture: file name of the picture of the worst mistakes, if there are any.
    """
    parts = [
        [f"# Model card: {facts.release.identifier}", "", *_summary(facts)],
        _data(facts),
        _training(facts),
        _accuracy(facts),
        _calibration(facts),
        _thresholds(facts),
        _mistakes(facts, picture),
        _limits(facts),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _folder(environment: Environment) -> Path:
    return environment.releases_file.parent / "model_cards"


def _summary(facts: Facts) -> list[str]:
    accepted, wrong = facts.evaluation.accepted(facts.release.threshold)
    lines = [
        f"Tells {', '.join(facts.release.classes)} apart. Accuracy {facts.evaluation.right} on "
        f"{facts.evaluation.test_images} test images. At the threshold {facts.release.threshold:g} it decides "
        f"{accepted.share:.1%} of them alone, of which {wrong.share:.1%} are wrong.",
    ]
    if not facts.staged.comparable:
        lines += ["", "**The images are drawings: none of these figures says anything about real vehicles.**"]
    return lines


def _data(facts: Facts) -> list[str]:
    staged = facts.staged
    rows = [(name, staged.train_images_by_class[name], staged.test_images_by_class[name]) for name in staged.classes]
    return [
        "## Data",
        "",
        f"- source: {staged.source}, {staged.image_shape} (channels, height, width)",
        f"- {staged.validation_images} of the {staged.train_images} training images are for validation and never "
        "learnt from",
        f"- SHA-256 of pixels, labels and splits: `{staged.dataset_sha256}`",
        "",
        *_table(("class", "training images", "test images"), rows),
    ]


def _training(facts: Facts) -> list[str]:
    model, properties = facts.model, facts.model.properties
    lines = [
        "## Training",
        "",
        f"- {facts.release.trained_at}, source revision `{facts.release.source_revision}`, algorithm {model.algorithm}",
        f"- job: {model.job_name}, {model.bill.seconds} s; {model.bill}",
        f"- artifact: {model.model_data_url}, SHA-256 `{model.model_sha256}`",
    ]
    if "weights_sha256" in properties:
        lines.append(
            f"- weights: SHA-256 `{properties['weights_sha256']}`: the same for the same data, code, seed and machine"
        )
    if "epoch" in properties:
        lines.append(f"- seed {properties.get('seed')}, epoch {properties['epoch']} kept")
    skipped = ("classes", "dataset_sha256")
    chosen = [f"{name} {value}" for name, value in sorted(model.hyperparameters.items()) if name not in skipped]
    return [*lines, f"- hyperparameters: {', '.join(chosen)}"]


def _accuracy(facts: Facts) -> list[str]:
    classes, evaluation = facts.staged.classes, facts.evaluation
    rows = [
        (name, str(rate), *counts)
        for name, rate, counts in zip(classes, evaluation.right_by_class, evaluation.confusion, strict=True)
    ]
    return [
        "## Accuracy",
        "",
        f"All classes: {evaluation.right}, {evaluation.right.count} of {evaluation.test_images}. "
        "Intervals are Wilson's.",
        "",
        *_table(("class", "accuracy", *(f"taken for {name}" for name in classes)), rows),
    ]


def _calibration(facts: Facts) -> list[str]:
    properties = facts.model.properties
    lines = [
        "## Calibration",
        "",
        "Expected calibration error: the mean distance between confidence and accuracy.",
        "",
        f"- on the test images: {facts.evaluation.calibration_error:.3f}",
    ]
    if "ece" not in properties:
        return [*lines, "- on the validation images: not known; this artifact's confidences are not calibrated"]
    return [
        *lines,
        f"- on the validation images: {properties['ece']:.3f}, before calibration {properties['ece_before']:.3f} "
        f"(temperature {properties['temperature']:g})",
    ]


def _thresholds(facts: Facts) -> list[str]:
    chosen, properties = facts.release.threshold, facts.model.properties
    rows = []
    for threshold in sorted({*_THRESHOLDS, chosen}):
        accepted, wrong = facts.evaluation.accepted(threshold)
        mark = " (this release)" if threshold == chosen else ""
        low, high = wrong.interval
        errors = f"{wrong.count} of {wrong.of} (95 %: {low:.1%} to {high:.1%})" if wrong.of else "none accepted"
        rows.append((f"{threshold:g}{mark}", f"{accepted.share:.1%}", errors))
    reason = (
        f"Chosen on the validation images for {properties['target_error']:.1%} errors among the accepted; there it "
        f"accepts {properties['accepted_share']:.1%}."
        if "target_error" in properties
        else "The default: this artifact carries no threshold of its own."
    )
    return ["## Threshold", "", reason, "", *_table(("threshold", "accepted", "errors among accepted"), rows)]


def _mistakes(facts: Facts, picture: str | None) -> list[str]:
    if picture is None:
        return ["## Worst mistakes", "", "None on the test images."]
    classes = facts.staged.classes
    rows = [
        (f"`{mistake.file_name}`", classes[mistake.label], classes[mistake.predicted], f"{mistake.confidence:.3f}")
        for mistake in facts.evaluation.mistakes(_MOST_MISTAKES)
    ]
    return [
        "## Worst mistakes",
        "",
        f"![The wrong answers, the surest first]({picture})",
        "",
        *_table(("image", "label", "answer", "confidence"), rows),
    ]


def _limits(facts: Facts) -> list[str]:
    _, height, width = facts.staged.image_shape.split(",")
    lines = [
        "## Limits",
        "",
        "- It knows these classes and no other: any image gets the most similar one of them, at times with high "
        "confidence.",
        f"- It sees {height} x {width} pixels with one vehicle in the middle; a small vehicle in a wide scene is lost.",
        "- Accuracy and calibration hold for images like these. With others (night, rain, other cameras) watch the "
        "monitoring report, and train again.",
    ]
    if facts.evaluation.test_images < _FEW_TEST_IMAGES:
        low, high = facts.evaluation.right.interval
        lines.append(
            f"- {facts.evaluation.test_images} test images leave {100 * (high - low):.0f} points of doubt about the "
            "accuracy: two releases within that are not told apart by it."
        )
    if "cifar" in facts.staged.source:
        lines.append("- CIFAR's splits share near-duplicates, and one or two in a hundred of its labels are wrong.")
    return lines


def _caption(classes: Sequence[str], mistake: Prediction) -> list[str]:
    return [f"{classes[mistake.label]}, answered", f"{classes[mistake.predicted]} {mistake.confidence:.3f}"]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    ruler = ["---"] * len(head)
    return [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (head, ruler, *rows)]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")

"""The model card that travels in the artifact: what a person should know before relying on the model.

Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

from typing import Any

LIMITS = """\
- It knows these classes and no other: any image gets the most similar one of them, at times with high confidence.
- It has learnt from views of {side} x {side} pixels with one vehicle in the middle. A larger photo is shrunk to that:
  a small vehicle in a wide scene is lost.
- Its confidence is calibrated for images like those of validation. When others arrive (night, rain, other cameras),
  watch the drift report and train again.
- Validation chose the epoch, the temperature and the threshold, so its figures are a little too good, and
  {images} images tell percentages apart only roughly. The accuracy on the test split, which nothing was chosen by, is
  beside the release record.\
"""


def of(description: dict[str, Any]) -> str:
    """Write the model card, in Markdown, of what model.json describes."""
    classes = description["classes"]
    lines = [
        f"# Model card: {', '.join(classes)}",
        "",
        f"An image classifier: {description['architecture']}, trained from {description['start']}. It answers with one",
        "calibrated probability for each class.",
        "",
        "## Data",
        "",
        f"- {description['train_images']} images to learn from, {description['validation_images']} for validation",
        f"- dataset: {description['dataset_sha256'] or 'not given'} (SHA-256)",
        f"- seed {description['seed']}, weights {description['weights_sha256']} (SHA-256),"
        f" {description['training_seconds']:.0f} s of training, epoch {description['epoch']} kept",
        "",
        "## On validation images",
        "",
        f"- accuracy {description['validation_accuracy']:.3f}",
        f"- expected calibration error {description['ece']:.3f}; before calibration {description['ece_before']:.3f}",
        f"- threshold {description['threshold']:.4f}, chosen for {description['target_error']:.1%} errors among the"
        f" accepted: it accepts {description['accepted_share']:.1%},",
        f"  {description['accepted_error']:.1%} of which are wrong",
        "",
        *table(("class", "accuracy", *(f"taken for {name}" for name in classes)), confusion_rows(description)),
        "",
        *table(("threshold", "accepted", "errors among accepted"), coverage_rows(description)),
        "",
        "## Limits",
        "",
        LIMITS.format(side=description["preprocessing"]["view_side"], images=description["validation_images"]),
    ]
    return "\n".join(lines) + "\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lay out a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def confusion_rows(description: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a class: its accuracy, and how often it was taken for which."""
    columns = zip(description["classes"], description["accuracy_by_class"], description["confusion"], strict=True)
    return [
        (name, "no image" if accuracy is None else f"{accuracy:.3f}", *map(str, counts))
        for name, accuracy, counts in columns
    ]


def coverage_rows(description: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a threshold."""
    return [
        (f"{row['threshold']:g}", f"{row['accepted_share']:.1%}", f"{row['error']:.1%}")
        for row in description["coverage"]
    ]

"""A candidate against the release that serves, on the same test images, and both cards side by side."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from model_quality.measures import Evaluation, Rate

BETTER, WORSE, ALIKE = "better", "worse", "alike"
_SIGNIFICANCE = 0.05

_STYLE = """
body { margin: 0 auto; max-width: 90rem; padding: 1rem; color: #1a1a1a; background: #fff;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #d0d0d0; text-align: left; vertical-align: top; }
.cards { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
"""


@dataclass(frozen=True)
class Model:
    """One of the two.

    Attributes:
        name: of the release, or of the training job.
        evaluation: its answers on the test split.
        threshold: the confidence from which it decides alone.
        classes: their names.
        dataset_sha256: what it has learnt from; empty where that is not known.
        trained_at: when, ISO 8601; empty where that is not known.
        card: its own model card in Markdown; empty where it carries none.
    """

    name: str
    evaluation: Evaluation
    threshold: float
    classes: tuple[str, ...]
    dataset_sha256: str = ""
    trained_at: str = ""
    card: str = ""


@dataclass(frozen=True)
class Comparison:
    """The two on the same images, in the same order.

    Attributes:
        serving: the release that serves.
        candidate: what might take its place.
    """

    serving: Model
    candidate: Model

    @property
    def only_serving(self) -> int:
        """Images that only the serving release gets right."""
        return self._only(self.serving, self.candidate)

    @property
    def only_candidate(self) -> int:
        """Images that only the candidate gets right."""
        return self._only(self.candidate, self.serving)

    @property
    def p_value(self) -> float:
        """Chance of so uneven a split of these images between equally good models.

        McNemar's test in its exact form, since the images are few: McNemar 1947, Psychometrika 12.
        """
        fewer, count = min(self.only_serving, self.only_candidate), self.only_serving + self.only_candidate
        tail = sum(math.comb(count, wins) for wins in range(fewer + 1)) / 2**count
        return float(min(2 * tail, 1))

    @property
    def verdict(self) -> str:
        """BETTER or WORSE where the difference is more than chance, else ALIKE."""
        if self.p_value >= _SIGNIFICANCE:
            return ALIKE
        return BETTER if self.only_candidate > self.only_serving else WORSE

    @property
    def headline(self) -> str:
        """The verdict in words."""
        ours, theirs = self.candidate.evaluation.right, self.serving.evaluation.right
        gap = ours.count - theirs.count
        more = "no more and no fewer" if not gap else f"{abs(gap)} {'more' if gap > 0 else 'fewer'}"
        counts = f"{ours.count} of {ours.of} test images right, {more} than the release that serves"
        chance = f"p = {self.p_value:.2g}"
        return {
            BETTER: f"The candidate is better: {counts} ({chance}).",
            WORSE: f"The candidate is WORSE: {counts} ({chance}).",
            ALIKE: f"The candidate is not certainly better or worse: {counts}, which may be chance ({chance}).",
        }[self.verdict]

    @property
    def advice(self) -> str:
        """What to do."""
        promote = f"invoke promote --env ENVIRONMENT --job {self.candidate.name}"
        return {
            BETTER: f"To let it serve, review the change that `{promote}` makes of the release record.",
            WORSE: "Leave the release as it is. Look at the data: what was added, and is it labelled right?",
            ALIKE: "There is no reason in these figures to change the release; the data it has learnt from may be one. "
            f"`{promote}` proposes it.",
        }[self.verdict]

    def rows(self) -> list[tuple[str, str, str]]:
        """Name each figure, and give it of the serving release and of the candidate."""
        both = (self.serving, self.candidate)
        found = [
            ("", *(model.name for model in both)),
            ("trained", *(model.trained_at or "not known" for model in both)),
            ("dataset", *(model.dataset_sha256[:12] or "not known" for model in both)),
            ("test images right", *(str(model.evaluation.right) for model in both)),
        ]
        for label, name in enumerate(self.candidate.classes):
            found.append((f"{name} right", *(_share(model.evaluation.right_by_class[label]) for model in both)))
        accepted = [model.evaluation.accepted(model.threshold) for model in both]
        found += [
            ("only this one right", str(self.only_serving), str(self.only_candidate)),
            ("calibration error", *(f"{model.evaluation.calibration_error:.3f}" for model in both)),
            ("threshold", *(f"{model.threshold:g}" for model in both)),
            ("accepted", *(_share(share) for share, _ in accepted)),
            ("errors among accepted", *(_share(wrong) for _, wrong in accepted)),
        ]
        return [(name, there, here) for name, there, here in found]

    def lines(self) -> list[str]:
        """Lay the rows out as text."""
        rows = self.rows()
        first, second = (max(len(row[place]) for row in rows) for place in (0, 1))
        return [f"{name:<{first}}  {there:<{second}}  {here}".rstrip() for name, there, here in rows]

    def page(self) -> str:
        """Return the figures and both model cards, side by side, as one self-contained page."""
        head, *rows = self.rows()
        titles = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in head)
        body = "".join(
            f'<tr><th scope="row">{html.escape(name)}</th>'
            f"<td>{html.escape(there)}</td><td>{html.escape(here)}</td></tr>"
            for name, there, here in rows
        )
        cards = "".join(
            f"<section><h2>{title}: {html.escape(model.name)}</h2>"
            f"<pre>{html.escape(model.card) or 'Its artifact carries no model card.'}</pre></section>"
            for title, model in (("Serving", self.serving), ("Candidate", self.candidate))
        )
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>Candidate: {self.verdict}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(self.headline)}</h1>
<p>{html.escape(self.advice)}</p>
<div class="scroll"><table><tr>{titles}</tr>{body}</table></div>
<div class="cards">{cards}</div>
</body>
</html>
"""

    def _only(self, one: Model, other: Model) -> int:
        pairs: Sequence[tuple[bool, bool]] = [
            (mine.right, theirs.right)
            for mine, theirs in zip(one.evaluation.predictions, other.evaluation.predictions, strict=True)
        ]
        return sum(mine and not theirs for mine, theirs in pairs)


def _share(rate: Rate) -> str:
    return f"{rate.count} of {rate.of}" + (f", {rate.share:.1%}" if rate.of else "")

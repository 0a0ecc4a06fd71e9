"""One self-contained page: what the model did, whether it has drifted, and the images to look at."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from model_quality.capture import Capture, Damage, UnsureImage
from model_quality.drift import DRIFT, MINIMUM_RECORDS, NO_BASELINE, NO_DRIFT, Drift
from model_quality.records import decode_image

_THUMBNAIL = 160
_SHOWN_DAMAGES = 20
_SHOWN_SIZES = 3

_STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --line: #d0d0d0; --quiet: #595959; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: #fff; color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.quiet { color: var(--quiet); font-size: .9rem; margin: .25rem 0; }
.verdict { margin: 1rem 0; padding: .75rem 1rem; border: 2px solid; border-left-width: .75rem; }
.verdict p { margin: .25rem 0 0; } .verdict strong { font-size: 1.15rem; }
.drift { border-color: #D55E00; } .no_drift { border-color: #0072B2; }
.too_little_data, .no_baseline { border-color: #767676; }
.plots { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
figure { margin: 0; break-inside: avoid; } figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: .9rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; } td { overflow-wrap: anywhere; }
.unsure { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.unsure img { aspect-ratio: 1; object-fit: contain; background: #eee; image-rendering: pixelated; }
a { color: #00517f; }
@page { margin: 14mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  .plots { grid-template-columns: 1fr 1fr; gap: 6mm; } .unsure { grid-template-columns: repeat(6, 1fr); gap: 4mm; }
  h2 { break-after: avoid; } tr { break-inside: avoid; } .scroll { overflow: visible; } a { color: inherit; }
}
"""


@dataclass(frozen=True)
class Plot:
    """One plot of the report.

    Attributes:
        name: of its file, without the ending.
        title: what it shows.
        meaning: how to read it.
        picture: the file.
        media_type: of the picture.
    """

    name: str
    title: str
    meaning: str
    picture: bytes
    media_type: str = "image/png"


def verdict_in_words(drift: Drift, summary: Mapping[str, Any]) -> tuple[str, str]:
    """Say what was found, and what to do about it."""
    if drift.verdict == DRIFT:
        moved = [signal for signal in drift.signals if signal.drifted]
        found = "; ".join(f"{_SAID[signal.name]} (PSI {signal.psi:.2f}, {_chance(signal.p_value)})" for signal in moved)
        return (
            f"Drift: {found}.",
            "Look at the least sure images of the report. If they are what drivers now send, train anew on such "
            "images; if a camera or an upload is broken, mend that; if the model is new, go back with invoke rollback.",
        )
    if drift.verdict == NO_DRIFT:
        return (
            "No drift: the images, and what the model says of them, are as on validation.",
            f"{summary['records']:,} records, worth {drift.independent:,.0f} independent images, were compared.",
        )
    if drift.verdict == NO_BASELINE:
        return (
            "No verdict: the release has no baseline to compare with.",
            "Train a release with this version of the toolkit: its record carries one.",
        )
    return (
        f"No verdict: {summary['records']:,} records, worth {drift.independent:,.0f} independent images, are too few.",
        f"Images worth at least {MINIMUM_RECORDS} different ones are needed, in the window and in the baseline; "
        "copies of one image weigh less.",
    )


def render(
    capture: Capture, drift: Drift, summary: Mapping[str, Any], drawn: Sequence[Plot], *, region: str = ""
) -> str:
    """Return the page.

    Args:
        capture: what was captured.
        drift: what the check found.
        summary: the figures.
        drawn: the plots.
        region: where the bucket lies, for links into AWS's console; empty on the embedded AWS, which has none.
    """
    headline, advice = verdict_in_words(drift, summary)
    release = f"Release {summary['release']}. " if summary["release"] else ""
    period = f"{_moment(summary['first'])} to {_moment(summary['last'])}" if summary["records"] else "no record"
    figures = "".join(
        f'<figure id="{plot.name}"><img src="{_data_uri(plot.picture, plot.media_type)}" '
        f'alt="{_text(f"{plot.title}. {plot.meaning}")}">'
        f"<figcaption><strong>{_text(plot.title)}.</strong> {_text(plot.meaning)}</figcaption></figure>"
        for plot in drawn
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>Model report: {_text(summary["verdict"].replace("_", " "))}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>What the model did</h1><p class="quiet">{_text(release + period)}</p></header>
<main>
<section class="verdict {summary["verdict"]}" role="status"><strong>{_text(headline)}</strong>
<p>{_text(advice)}</p></section>
<section><h2>Figures</h2><div class="scroll"><table>{_figures(drift, summary)}</table></div></section>
<section><h2>Plots</h2><div class="plots">{figures}</div></section>
{_unsure(capture.least_sure, region)}
{_damages(capture.damaged)}
</main>
</body>
</html>
"""


def link(file: str, region: str) -> str:
    """Return where a person can see a capture file: AWS's console, or the file; empty for the embedded AWS."""
    if not file.startswith("s3://"):
        return Path(file).resolve().as_uri()
    bucket, _, key = file.removeprefix("s3://").partition("/")
    return f"https://s3.console.aws.amazon.com/s3/object/{bucket}?region={region}&prefix={quote(key)}" if region else ""


_SAID = {
    "confidence": "the model is not as sure as it was",
    "classes": "the classes are not balanced as they were",
    "brightness": "the images are not as bright as they were",
    "sharpness": "the images are not as sharp as they were",
}


def _figures(drift: Drift, summary: Mapping[str, Any]) -> str:
    low, high = summary["accept_rate_interval"]
    rows = [("records", f"{summary['records']:,} in {summary['files']:,} files")]
    rows.append(("damaged lines", f"{summary['damaged']:,}"))
    if summary["outside_window"]:
        rows.append(("records outside of the window", f"{summary['outside_window']:,}"))
    if summary["records"]:
        share = f"{summary['accept_rate']:.1%} (95 % interval {low:.1%} to {high:.1%})"
        rows.append(("accepted", f"{summary['accepted']:,}, {share}"))
        rows.append(("median confidence", f"{summary['median_confidence']:.3f}"))
        rows += [
            (f"taken for {name}", f"{count:,}, {count / summary['records']:.1%}")
            for name, count in summary["classes"].items()
        ]
        rows.append(("worth independent images", f"{summary['independent']:,.0f}"))
        rows.append(("image sizes", _sizes(summary["image_sizes"])))
    rows.append(("threshold", f"{summary['threshold']:g}"))
    if summary["latency_ms"]:
        rows.append(("latency", "p50 {p50:.0f} ms, p99 {p99:.0f} ms".format(**summary["latency_ms"])))
    rows += [
        (
            f"drift of {signal.name}",
            f"PSI {signal.psi:.3f}, {_chance(signal.p_value)}{': drift' if signal.drifted else ''}",
        )
        for signal in drift.signals
    ]
    if drift.signals:
        rows.append(("false alarms of such a check", f"about {summary['false_alarm_rate']:.1%}"))
    return "".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in rows)


def _sizes(sizes: Sequence[tuple[int, int, int]]) -> str:
    if not sizes:
        return "not captured"
    shown = ", ".join(f"{width} x {height} ({count:,})" for width, height, count in sizes[:_SHOWN_SIZES])
    return shown + (f" and {len(sizes) - _SHOWN_SIZES} more" if len(sizes) > _SHOWN_SIZES else "")


def _unsure(images: Sequence[UnsureImage], region: str) -> str:
    figures = []
    for unsure in images:
        thumbnail = _thumbnail(unsure.image)
        if thumbnail is None:
            continue
        said = f"{unsure.prediction} {unsure.confidence:.3f}"
        picture = f'<img src="{_data_uri(thumbnail)}" alt="{_text(f"An image taken for {said}")}">'
        target = link(unsure.file, region)
        place = f"{unsure.file.rpartition('/')[2]}, line {unsure.line}"
        name = f'<a href="{_text(target)}" title="{_text(place)}">{unsure.time:%Y-%m-%d %H:%M:%S}</a>'
        if not target:
            name = f'<span title="{_text(unsure.file)}, line {unsure.line}">{unsure.time:%Y-%m-%d %H:%M:%S}</span>'
        figures.append(f"<figure>{picture}<figcaption>{_text(said)}<br>{name}</figcaption></figure>")
    if not figures:
        return ""
    return f'<section><h2>The least sure images</h2><div class="unsure">{"".join(figures)}</div></section>'


def _thumbnail(image: bytes) -> bytes | None:
    small = decode_image(image)
    if small is None:
        return None
    content = io.BytesIO()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    small.save(content, "PNG")
    return content.getvalue()


def _damages(damages: Sequence[Damage]) -> str:
    if not damages:
        return ""
    rows = "".join(
        f"<tr><td>{_text(damage.file)}</td><td>{damage.line or 'all'}</td><td>{_text(damage.reason)}</td></tr>"
        for damage in damages[:_SHOWN_DAMAGES]
    )
    more = len(damages) - _SHOWN_DAMAGES
    rest = f'<p class="quiet">… and {more:,} more in damaged.csv</p>' if more > 0 else ""
    head = '<tr><th scope="col">file</th><th scope="col">line</th><th scope="col">reason</th></tr>'
    title = f"<h2>{len(damages):,} damaged lines</h2>"
    return f'<section>{title}<div class="scroll"><table>{head}{rows}</table></div>{rest}</section>'


def _chance(p_value: float) -> str:
    return f"p = {p_value:.3f}" if p_value >= 0.001 else f"p = {p_value:.0e}"  # noqa: PLR2004


def _moment(text: str) -> str:
    return f"{text[:16].replace('T', ' ')} UTC"


def _data_uri(picture: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(picture).decode()}"


def _text(text: str) -> str:
    return html.escape(text)

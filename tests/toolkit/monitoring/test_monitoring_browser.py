"""The report in a real browser: on a phone, on a desktop, and in print."""

import json

import pytest
from browser import chromium

from model_quality import bars
from model_quality.capture import Window
from model_quality.comparison import Comparison
from model_quality.drift import Baseline
from model_quality.report import render
from tests.capture_files import CLASSES, SCORES, line, png
from tests.model_quality.candidates import model
from toolkit.monitoring.monitor import monitor

OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll('h1, h2, p, td, th, figcaption, img, .verdict > strong')]
    .map(element => [element, element.getBoundingClientRect()])
    .filter(([, box]) => box.width && box.height);
  const found = [];
  for (const [i, [a, p]] of boxes.entries())
    for (const [b, q] of boxes.slice(i + 1))
      if (!a.contains(b) && !b.contains(a)
          && Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
          && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1)
        found.push([a.outerHTML.slice(0, 80), b.outerHTML.slice(0, 80)]);
  return found;
}"""
BEYOND = """() => [...document.querySelectorAll('main *, header *')]
  .filter(element => !element.closest('.scroll') || element.matches('.scroll'))
  .filter(element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(element => element.outerHTML.slice(0, 80))"""
LOADED = "() => [...document.images].every(image => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module", params=["drift", "nothing", "cloud"])
def report(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    kept = SCORES["validation"]
    baseline = Baseline.build([[1 - share, share] for share in kept["motorcycle"]], CLASSES)
    long_name = "a-very-long-name-without-any-blank-in-it-" * 4
    (folder / "in").mkdir()
    lines = [
        line([1 - share, share], png(shade=place), event=str(place), time=f"2026-11-20T10:{place % 60:02}:00Z")
        for place, share in enumerate(SCORES["blurred"]["motorcycle"])
    ]
    content = "" if request.param == "nothing" else "".join(lines) + "damaged\n" * 25
    (folder / "in" / f"{long_name}.jsonl").write_text(content)
    found = monitor(str(folder / "in"), Window(), folder / "out", classes=CLASSES, baseline=baseline, release="r1")
    assert found.drift.verdict == ("too_little_data" if request.param == "nothing" else "drift")
    if request.param == "cloud":  # the function draws in its own way
        plots = bars.draw(found.capture, found.drift, 0.93)
        found.report.write_text(render(found.capture, found.drift, found.summary, plots, region="us-east-1"))
    return found.report


def opened(browser, report, width, media="screen"):
    page = browser.new_page(viewport={"width": width, "height": 844})
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.emulate_media(media=media)
    page.goto(report.as_uri())
    return page, said


@pytest.mark.parametrize(("width", "media"), [(390, "screen"), (1280, "screen"), (794, "print")])
def test_everything_is_shown_and_nothing_overlaps(browser, report, width, media):
    page, said = opened(browser, report, width, media)
    assert page.evaluate(LOADED)
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(BEYOND) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []


def test_the_verdict_is_seen_without_scrolling_on_a_phone(browser, report):
    page, _ = opened(browser, report, 390)
    box = page.locator(".verdict").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 844
    summary = json.loads((report.parent / "summary.json").read_text())
    assert page.title() == f"Model report: {summary['verdict'].replace('_', ' ')}"


def test_it_prints(browser, report):
    page, _ = opened(browser, report, 794, "print")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_plots_are_readable_on_a_phone(browser, report):
    page, _ = opened(browser, report, 390)
    widths = page.evaluate("[...document.querySelectorAll('.plots img')].map(image => image.clientWidth)")
    assert len(widths) == page.locator("figure:has(img)").count() - page.locator(".unsure img").count() >= 3
    assert min(widths) > 340


@pytest.mark.parametrize("width", [390, 1280])
def test_a_candidate_is_compared_side_by_side(browser, tmp_path, width):
    card = "# Model card\n" + "a line that is longer than a phone is wide, and then some more of it\n" * 20
    file = tmp_path / "comparison.html"
    file.write_text(Comparison(model("r1", "+" * 90 + "-" * 10, card), model("job", "+" * 100, card)).page())
    page, said = opened(browser, file, width)
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    one, other = (section.bounding_box() for section in page.locator("section").all())
    assert (one["y"] == other["y"]) is (width == 1280)

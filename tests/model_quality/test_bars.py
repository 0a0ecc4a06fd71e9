import xml.etree.ElementTree as ET

from model_quality.bars import bars, draw
from model_quality.capture import Window, read
from model_quality.drift import Baseline
from tests.capture_files import CLASSES, SCORES, line, png

SVG = "{http://www.w3.org/2000/svg}"


def test_a_bar_is_as_high_as_its_value():
    found = ET.fromstring(bars(["a", "b"], {"now": ("#000001", [1, 4])}, percent=False))  # noqa: S314 - our own
    heights = [
        float(rect.get("height")) for rect in found.iter(f"{SVG}rect") if rect.get("fill") == "#000001"
    ]  # the first is the legend's
    assert heights[1:] == [65.0, 260.0]
    assert {text.text for text in found.iter(f"{SVG}text")} == {"now", "a", "b", "0", "2", "4"}


def test_nothing_to_show_is_a_picture_too():
    ET.fromstring(bars([], {"now": ("#000001", [])}, percent=True))  # noqa: S314 - our own


def test_labels_are_text():
    assert b"&lt;b&gt;" in bars(["<b>"], {"a&b": ("#000001", [1])}, percent=False)


def test_the_window_and_each_comparison_are_drawn(tmp_path):
    shares = SCORES["blurred"]["motorcycle"]
    lines = [line([1 - share, share], png(shade=place)) for place, share in enumerate(shares)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    capture = read(str(tmp_path), Window(), classes=CLASSES)
    kept = SCORES["validation"]["motorcycle"]
    drift = capture.check(Baseline.build([[1 - share, share] for share in kept], CLASSES))
    plots = draw(capture, drift, 0.93)
    assert [plot.name for plot in plots] == ["confidence", "drift_confidence", "drift_classes"]
    assert "DRIFT" in plots[1].title
    for plot in plots:
        assert plot.media_type == "image/svg+xml"
        ET.fromstring(plot.picture)  # noqa: S314 - our own

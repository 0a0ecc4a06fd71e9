from html.parser import HTMLParser

import pytest

from model_quality.comparison import ALIKE, BETTER, WORSE, Comparison
from tests.model_quality.candidates import model


@pytest.mark.parametrize(
    ("serving", "candidate", "verdict", "words"),
    [
        ("+" * 90 + "-" * 10, "+" * 100, BETTER, "is better: 100 of 100 test images right, 10 more than"),
        ("+" * 100, "+" * 90 + "-" * 10, WORSE, "is WORSE: 90 of 100 test images right, 10 fewer than"),
        ("+" * 97 + "-" * 3, "+" * 100, ALIKE, "not certainly better or worse: 100 of 100 test images right, 3 more"),
        ("+" * 100, "+" * 97 + "-" * 3, ALIKE, "not certainly better or worse: 97 of 100 test images right, 3 fewer"),
        ("+-", "-+", ALIKE, "no more and no fewer than"),
        ("--", "--", ALIKE, "no more and no fewer than"),
    ],
)
def test_a_difference_counts_when_it_is_more_than_chance(serving, candidate, verdict, words):
    found = Comparison(model("r1", serving), model("job", candidate))
    assert found.verdict == verdict
    assert words in found.headline


def test_the_chance_is_that_of_a_coin():
    # Six images that only one of the two knows, all on one side: twice 1/64.
    found = Comparison(model("r1", "+" * 94 + "-" * 6), model("job", "+" * 100))
    assert found.p_value == pytest.approx(2 / 64)
    assert (found.only_serving, found.only_candidate) == (0, 6)


def test_both_on_the_same_images_pair_by_pair():
    # Equally many right, but not the same ones.
    found = Comparison(model("r1", "+++---"), model("job", "---+++"))
    assert (found.only_serving, found.only_candidate, found.p_value) == (3, 3, 1.0)


def test_other_images_are_no_comparison():
    with pytest.raises(ValueError, match="zip"):
        _ = Comparison(model("r1", "++"), model("job", "+")).verdict


def test_figures_side_by_side():
    lines = Comparison(model("r1", "+" * 99 + "-"), model("job", "+" * 100)).lines()
    assert lines[0].split() == ["r1", "job"]
    column = lines[0].index("job")
    assert all(line[column - 1] == " " for line in lines if len(line) > column)
    shown = {line.split("  ")[0].strip(): line for line in lines}
    assert "49 of 50, 98.0%" in shown["motorcycle right"]
    assert "50 of 50, 100.0%" in shown["motorcycle right"]
    assert shown["only this one right"].split()[-2:] == ["0", "1"]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_has_both_cards_and_runs_nothing():
    page = Comparison(model("r1", "+-", "# Card <one>"), model("job", "++", "<script>alert(1)</script>")).page()
    parser = _Page()
    parser.feed(page)
    assert parser.open == []
    assert "script" not in parser.tags
    assert "# Card &lt;one&gt;" in page
    assert page.index("Serving: r1") < page.index("Candidate: job")
    assert "default-src 'none'" in page

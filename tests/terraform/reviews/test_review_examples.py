"""The reviews of ten real plans, compared with the kept ones."""

import pytest

from tests.terraform.reviews.examples import FOLDER, NAMES, plan_file, review_file, review_text

SCREEN = 50  # lines


@pytest.mark.parametrize("name", NAMES)
def test_the_review_of_a_plan_is_the_kept_one(name):
    assert review_text(name) == review_file(name).read_text(), "python -m tests.terraform.reviews.examples --reviews"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_important_fits_on_one_screen(name):
    assert len(review_file(name).read_text().partition("<details>")[0].splitlines()) <= SCREEN


def test_there_are_ten_and_no_others():
    assert len(NAMES) == 10
    assert {file.name for file in FOLDER.glob("*.md")} == {review_file(name).name for name in NAMES}
    assert {file.name for file in FOLDER.glob("*.gz")} == {plan_file(name).name for name in NAMES}

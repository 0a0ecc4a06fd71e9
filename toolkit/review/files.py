"""Where reviews are written, for comments and artefacts: the page of a comment, all of it, and what machines read."""

from __future__ import annotations

import json
from pathlib import Path

from toolkit.environment import BUILD
from toolkit.review.markdown import LIMIT, render
from toolkit.review.report import Review

REVIEWS = BUILD / "reviews"
COMMENT, FULL, DATA = "comment.md", "review.md", "review.json"
_ENVIRONMENTS = 2  # a comment has room for the pages of both accounts
_REST = 500  # and for what stands around them


def write(review: Review, directory: Path) -> Path:
    """Write all forms of a review.

    Returns:
        The file that holds all of it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    page = render(review, limit=LIMIT // _ENVIRONMENTS - _REST)
    (directory / COMMENT).write_text(page.text)
    (directory / FULL).write_text(page.full)
    (directory / DATA).write_text(json.dumps(review.as_json(), indent=2) + "\n")
    return directory / FULL

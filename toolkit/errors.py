"""The errors that a person meets: what is wrong, and what to do about it."""

from __future__ import annotations


class ToolkitError(Exception):
    """A failure with a remedy. Tasks print it as one line and exit with `exit_code`; they never show a traceback.

    Subclasses name the failure in the vocabulary of the part that raises it.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy

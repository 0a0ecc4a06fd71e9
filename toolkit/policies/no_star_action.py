"""Nobody newly gets all actions of a service, or all but some: rights are named."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject
from toolkit.review.statements import Statement


def check(subject: Subject) -> Iterator[Finding]:
    """Yield every statement that is new or changed and allows more than it names."""
    for policy in subject.policies:
        for statement in policy.added:
            broad = [action for action in statement.actions if action.endswith((":*", " *")) or action == "*"]
            broad += [action for action in statement.actions if action.startswith("not ")]
            if statement.effect == "Allow" and broad and not _is_root_of_key(statement):
                yield Finding(
                    policy.address,
                    f"{statement.sid or 'a statement'} allows {', '.join(dict.fromkeys(broad))}",
                    "Name the actions that are needed.",
                )


def _is_root_of_key(statement: Statement) -> bool:
    """Every key needs it: without the account as its administrator, a key could be lost for ever."""
    roots = [re.fullmatch(r"AWS:arn:[^:]+:iam::\d{12}:root", principal) for principal in statement.principals]
    return statement.actions == ("kms:*",) and bool(roots) and all(roots)

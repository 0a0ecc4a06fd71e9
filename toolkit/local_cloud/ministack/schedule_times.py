"""When a schedule of EventBridge Scheduler is due, in its time zone.

See https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ministack.services import eventbridge


def next_time(expression: str, zone: ZoneInfo, begin: float, last: float | None) -> float | None:
    """Return the first time of a schedule expression, or the one after `last`; None when there is none any more.

    Args:
        expression: `at(...)`, `rate(...)` or `cron(...)`.
        zone: in which `at` and `cron` are read.
        begin: when the schedule was set or starts, in seconds since the epoch.
        last: when it was due last; None when it never was.

    Raises:
        ValueError: the expression is not understood.
    """
    if once := re.fullmatch(r"at\((.+)\)", expression):
        moment = datetime.strptime(once[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=zone)
        return moment.timestamp() if last is None else None
    if seconds := eventbridge._parse_rate_seconds(expression):
        return begin if last is None else last + float(seconds)  # the first one at once, as on AWS
    fields = eventbridge._parse_cron_fields(expression)
    if fields is None:
        raise ValueError(expression)
    # MiniStack's search counts in UTC: it is given the zone's clock as if it were that.
    after = datetime.fromtimestamp(begin if last is None else last, zone).replace(tzinfo=UTC)
    found: datetime | None = eventbridge._cron_next_fire(fields, after)
    return found.replace(tzinfo=zone).timestamp() if found else None


def latest_time(expression: str, due: float, now: float) -> float:
    """Return the newest of the times since `due`: those that were missed meanwhile are not made up for."""
    seconds = eventbridge._parse_rate_seconds(expression)
    return due + (now - due) // seconds * seconds if seconds else now

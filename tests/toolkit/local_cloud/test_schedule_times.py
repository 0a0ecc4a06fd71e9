"""When a schedule of the embedded AWS is due."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from toolkit.local_cloud.ministack.schedule_times import latest_time, next_time


def moment(text):
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("expression", "zone", "begin", "last", "due"),
    [
        # Six in the morning of Berlin, before and after the clocks change.
        ("cron(0 6 * * ? *)", "Europe/Berlin", "2026-01-10T12:00:00Z", None, "2026-01-11T05:00:00Z"),
        ("cron(0 6 * * ? *)", "Europe/Berlin", "2026-07-10T12:00:00Z", None, "2026-07-11T04:00:00Z"),
        ("cron(0 6 * * ? *)", "Europe/Berlin", "2026-01-10T12:00:00Z", "2026-01-11T05:00:01Z", "2026-01-12T05:00:00Z"),
        ("cron(30 8 1 * ? *)", "UTC", "2026-01-10T12:00:00Z", None, "2026-02-01T08:30:00Z"),
        ("rate(6 hours)", "UTC", "2026-01-10T12:00:00Z", None, "2026-01-10T12:00:00Z"),
        ("rate(6 hours)", "UTC", "2026-01-10T12:00:00Z", "2026-01-10T18:00:00Z", "2026-01-11T00:00:00Z"),
        ("at(2026-07-01T09:00:00)", "America/New_York", "2026-01-10T12:00:00Z", None, "2026-07-01T13:00:00Z"),
        ("at(2026-07-01T09:00:00)", "America/New_York", "2026-01-10T12:00:00Z", "2026-07-01T13:00:00Z", None),
    ],
)
def test_the_next_time_of_an_expression(expression, zone, begin, last, due):
    found = next_time(expression, ZoneInfo(zone), moment(begin), last and moment(last))
    assert found == (due and moment(due))


def test_times_that_were_missed_are_not_made_up_for():
    due, now = moment("2026-01-10T12:00:00Z"), moment("2026-01-10T12:10:30Z")
    assert latest_time("rate(1 minute)", due, now) == moment("2026-01-10T12:10:00Z")
    assert latest_time("cron(0 6 * * ? *)", due, now) == now


@pytest.mark.parametrize("expression", ["every day", "cron(0 6 * * * *)", "at(tomorrow)", "rate(1 week)"])
def test_what_is_no_expression_is_said_to_be_none(expression):
    with pytest.raises(ValueError, match=r".+"):
        next_time(expression, ZoneInfo("UTC"), 0, None)

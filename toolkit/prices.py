"""What an hour of training costs, as training.toml has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Prices:
    """US dollars an hour by instance type, on demand, in one region, at one date."""

    date: date
    region: str
    usd_per_hour: dict[str, float]

    def usd(self, instance_type: str, seconds: int, region: str) -> float | None:
        """Return the price of so many seconds, or None where it is not known."""
        hourly = self.usd_per_hour.get(instance_type) if region == self.region else None
        return None if hourly is None else hourly * seconds / _SECONDS_PER_HOUR

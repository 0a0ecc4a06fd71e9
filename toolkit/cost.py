"""What a training job costs: estimated before it starts, reported from what SageMaker billed."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.training_settings import TrainingSettings


@dataclass(frozen=True)
class Bill:
    """What a job took and costs.

    Attributes:
        instance_type: what it ran on.
        seconds: from its start to its end.
        billable_seconds: those that AWS bills at the price on demand; with spot instances fewer than `seconds`.
        usd: None where the price is not known.
    """

    instance_type: str
    seconds: int
    billable_seconds: int
    usd: float | None

    @property
    def savings(self) -> float:
        """Share of the price on demand that spot instances have saved."""
        return 1 - self.billable_seconds / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        saved = f" ({self.savings:.0%} saved by spot instances)" if self.billable_seconds < self.seconds else ""
        return (
            f"{self.billable_seconds} s of {self.instance_type} billed{saved}: "
            f"{'cost unknown' if self.usd is None else f'${self.usd:.3f}'}"
        )


def estimate(settings: TrainingSettings, region: str) -> str:
    """Say in a few words what a job costs that takes as long as training.toml expects, and what it may cost at most."""
    instance_type, prices = settings.instance_type, settings.prices
    expected = prices.usd(instance_type, settings.expected_seconds, region)
    most = prices.usd(instance_type, settings.maximum_seconds, region)
    if expected is None or most is None:
        return f"the cost is unknown; training.toml has no price of {instance_type} in {region}."
    less = " Spot instances cost less." if settings.spot else ""
    return (
        f"about ${expected:.2f} ({settings.expected_seconds} s of {instance_type}), at most ${most:.2f} "
        f"({settings.maximum_seconds} s), by prices of {prices.date}.{less}"
    )

"""An endpoint goes back by itself when a new release makes an alarm ring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield every endpoint that would keep a bad release."""
    for endpoint in subject.proposal.of_type("aws_sagemaker_endpoint"):
        rollback = _first(_first(endpoint.after.get("deployment_config")).get("auto_rollback_configuration"))
        if not rollback.get("alarms"):
            yield Finding(
                endpoint.address,
                "is not rolled back by any alarm",
                "Name alarms in deployment_config.auto_rollback_configuration. A serverless endpoint cannot have them.",
            )


def _first(blocks: Any) -> dict[str, Any]:
    return blocks[0] if isinstance(blocks, list) and blocks and isinstance(blocks[0], dict) else {}

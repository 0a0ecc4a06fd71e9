"""How the servers of the embedded AWS that are not MiniStack ask it whether a caller may do what it wants."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

# Where MiniStack answers, and how a service says for whom it takes a role: see `ministack.iam_enforcement`.
AUTHORIZATION_PATH = "/_local_cloud/authorization"
SERVICE_HEADER = "x-local-cloud-service"
SOURCE_HEADER = "x-local-cloud-source-arn"

_TIMEOUT_SECONDS = 10


class AccessDeniedError(Exception):
    """The caller of a request may not do the action; `code` and message are AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def authorize(headers: Mapping[str, str], action: str, resource: str) -> None:
    """Make sure that the caller of a request may do an action.

    Args:
        headers: of the request, which name the caller.
        action: such as `sagemaker:InvokeEndpoint`.
        resource: its ARN.

    Raises:
        AccessDeniedError: the caller is unknown or may not.
    """
    query = urllib.parse.urlencode({"action": action, "resource": resource})
    url = f"{os.environ['AWS_ENDPOINT_URL']}{AUTHORIZATION_PATH}?{query}"
    names = [name for name in ("Authorization", "X-Amz-Security-Token") if name in headers]
    request = urllib.request.Request(url, headers={name: headers[name] for name in names})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310 - loopback
            return
    except urllib.error.HTTPError as error:
        refusal = json.load(error)
        raise AccessDeniedError(refusal["code"], refusal["message"]) from error

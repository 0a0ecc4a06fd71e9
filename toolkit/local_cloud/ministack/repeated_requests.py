"""Answers a request that is sent again with the answer that its sender has lost, so that nothing is made twice.

On a busy machine the Terraform provider now and then loses an answer, at any service, and asks again. AWS survives this
where a request carries a token of its own; CreateBudget carries none, and would find that there is such a budget.
"""

from __future__ import annotations

from collections import OrderedDict
from http import HTTPStatus
from typing import Any

from ministack import app

# The SDKs give each call an identity, which its retries share.
_IDENTITY = b"amz-sdk-invocation-id"
_KEPT = 1000

Message = dict[str, Any]


def repeat_answers() -> None:
    """Keep the last answers to requests that change something, as far as they tell of success."""
    serve = app.app
    answers: OrderedDict[bytes, list[Message]] = OrderedDict()

    async def serve_once(scope: Message, receive: Any, send: Any) -> None:
        identity = dict(scope.get("headers", [])).get(_IDENTITY)
        if scope["type"] != "http" or scope["method"] == "GET" or identity is None:
            await serve(scope, receive, send)
            return
        if identity in answers:
            while (await receive()).get("more_body"):
                pass
            for message in answers[identity]:
                await send(message)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)
            await send(message)

        await serve(scope, receive, keep)
        if answer and HTTPStatus.OK <= answer[0].get("status", 0) < HTTPStatus.MULTIPLE_CHOICES:
            answers[identity] = answer
            if len(answers) > _KEPT:
                answers.popitem(last=False)

    app.app = serve_once

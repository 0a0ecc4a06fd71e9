"""Serves SageMaker, SageMaker Runtime and Application Auto Scaling on one loopback port.

Run as `python -m toolkit.local_cloud.sagemaker.server PORT DIRECTORY`. What `control_plane` implements is answered
there, all else by moto.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

from toolkit.local_cloud.authorization import AccessDeniedError, authorize
from toolkit.local_cloud.sagemaker.control_plane import ControlPlane, Document, ServiceError
from toolkit.local_cloud.sagemaker.endpoint import ModelError
from toolkit.local_cloud.sagemaker.scalable_target_tags import keep_scalable_target_tags
from toolkit.local_cloud.sagemaker.storage import ACCOUNT

HEALTH_PATH = "/_health"
_INVOCATIONS = re.compile(r"/endpoints/(?P<name>[^/]+)/invocations")
_MAXIMUM_PAYLOAD_BYTES = (
    6 * 1024 * 1024
)  # of InvokeEndpoint: https://docs.aws.amazon.com/general/latest/gr/sagemaker.html


class Gateway:
    """The WSGI application."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        environ["wsgi.input"] = io.BytesIO(request.get_data())  # so that moto can read the body again
        application = self._answer(request) or self._moto
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    def _answer(self, request: Request) -> Response | None:
        if request.path == HEALTH_PATH:
            return Response("ok")
        if found := _INVOCATIONS.fullmatch(request.path):
            return self._invoke(found["name"], request)
        service, _, action = request.headers.get("X-Amz-Target", "").partition(".")
        if service == "SageMaker" and (handle := self._control_plane.action(action)):
            return self._act(handle, request)
        return None

    def _act(self, handle: Callable[[Document], Document], request: Request) -> Response | None:
        try:
            document: Document = json.loads(request.get_data())
        except ValueError as error:
            return _error(ServiceError("SerializationException", str(error)))
        arn = document.get("ResourceArn")
        if arn and not self._control_plane.owns(arn):
            return None
        try:
            return _json(handle(document))
        except ServiceError as error:
            return _error(error)

    def _invoke(self, name: str, request: Request) -> Response:
        try:
            endpoint_arn = self._control_plane.endpoint_arn(name)
            authorize(request.headers, "sagemaker:InvokeEndpoint", endpoint_arn)
        except AccessDeniedError as error:
            return _error(ServiceError(error.code, str(error), HTTPStatus.FORBIDDEN))
        body = request.get_data()
        if len(body) > _MAXIMUM_PAYLOAD_BYTES:
            message = f"The payload of {len(body)} bytes exceeds the maximum allowed."
            return _error(ServiceError("ValidationError", message))
        try:
            endpoint = self._control_plane.endpoint(name)
            accept = request.headers.get("Accept") or "application/json"
            content_type = request.headers.get("Content-Type") or "application/octet-stream"
            response, variant = endpoint.invoke(body, content_type, accept)
        except (LookupError, ServiceError):  # AWS has the same words for none and for one that is not in service yet
            return _error(ServiceError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found."))
        except ModelError as error:
            answer = {"Message": str(error), "OriginalMessage": str(error), "OriginalStatusCode": error.status}
            return _json(answer, HTTPStatus.FAILED_DEPENDENCY, {"x-amzn-ErrorType": "ModelError"})
        headers = {"x-Amzn-Invoked-Production-Variant": variant}
        return Response(response.body, headers=headers, content_type=response.content_type)


def _json(document: Document, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(document), status, headers, content_type="application/x-amz-json-1.1")


def _error(error: ServiceError) -> Response:
    document = {"__type": error.code, "message": str(error), "Message": str(error)}
    return _json(document, error.status, {"x-amzn-ErrorType": error.code})


if __name__ == "__main__":
    keep_scalable_target_tags()
    run_simple(
        "127.0.0.1",
        int(sys.argv[1]),
        Gateway(ControlPlane(os.environ["AWS_REGION"], Path(sys.argv[2]))),
        threaded=True,
        request_handler=MotoRequestHandler,
    )

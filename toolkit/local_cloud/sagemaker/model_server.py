"""The serving side of a container: GET /ping and POST /invocations over the artifact's own `code/inference.py`.

Runs inside the image's environment, so it imports nothing but the standard library and that program. It calls the four
functions that SageMaker's PyTorch container calls: model_fn, input_fn, predict_fn, output_fn.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_TEXT_TYPES = ("application/json", "text/csv")


class ModelServer(ThreadingHTTPServer):
    """An HTTP server on loopback with a loaded model."""

    def __init__(self, port: int, model_directory: Path) -> None:
        sys.path.insert(0, str(model_directory / "code"))
        program = os.environ.get("SAGEMAKER_PROGRAM", "inference.py").removesuffix(".py")
        self.program = importlib.import_module(program)
        self.model = self.program.model_fn(str(model_directory))
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True  # headers and body are two writes; waiting for an ACK between them costs 40 ms

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/ping" else 404, b"", "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        accept = self.headers.get("Accept", "application/json")
        program = self.server.program
        try:
            content_type = self.headers.get("Content-Type", "")
            # As SageMaker's inference toolkit has it: https://github.com/aws/sagemaker-inference-toolkit
            data = program.input_fn(body.decode() if content_type in _TEXT_TYPES else body, content_type)
            prediction = program.predict_fn(data, self.server.model)
            output = program.output_fn(prediction, accept)
        except ValueError as error:
            self._answer(400, str(error).encode(), "text/plain")
        except Exception:  # a container answers 500 and goes on
            traceback.print_exc()
            self._answer(500, b"the model failed", "text/plain")
        else:
            self._answer(200, output if isinstance(output, bytes) else output.encode(), accept)

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log failures only: a line for every request would bury them."""
        if str(code) >= "400":
            super().log_request(code, size)


if __name__ == "__main__":
    ModelServer(int(sys.argv[1]), Path(sys.argv[2])).serve_forever()

"""The serving program out of a real artifact: one image or a batch in one request, and errors that name the cause."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import images
import pytest
from PIL import Image

from tests.model_src.conftest import Container

# Calls the four functions as the container does, for each request on standard input: content type, body, accept. JSON
# comes as text: https://github.com/aws/sagemaker-inference-toolkit, transformer.py.
DRIVER = """
import base64, json, sys
sys.path.insert(0, sys.argv[1] + "/code")
import inference
model = inference.model_fn(sys.argv[1])
for line in sys.stdin:
    kind, body, accept = json.loads(line)
    body = base64.b64decode(body)
    try:
        data = inference.input_fn(body.decode() if kind == "application/json" and body.isascii() else body, kind)
        print(json.dumps([None, inference.output_fn(inference.predict_fn(data, model), accept)]))
    except ValueError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""
Request = tuple[str, bytes, str]


def ask(container: Container, artifact: Path, requests: list[Request]) -> list[tuple[str | None, str]]:
    """Return for each request the error's name, if any, and the answer or message."""
    lines = [json.dumps([kind, base64.b64encode(body).decode(), accept]) for kind, body, accept in requests]
    command = [str(container.python), "-B", "-c", DRIVER, str(artifact)]
    ended = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return [(name, text) for name, text in map(json.loads, ended.stdout.splitlines())]


def picture(color: tuple[int, int, int], kind: str = "PNG", size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def batch(*bodies: bytes) -> bytes:
    return json.dumps([base64.b64encode(body).decode() for body in bodies]).encode()


def header_of_a_huge_png() -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return body + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


RED, GREEN = picture((200, 60, 60)), picture((60, 200, 60))
PHOTO = picture((80, 190, 50), "JPEG", (300, 200))
JSON = "application/json"

GOOD: dict[str, Request] = {
    "red": ("image/png", RED, JSON),
    "green": ("image/png; q=1", GREEN, "application/*;q=0.5, text/html"),
    "photo": ("image/jpeg", PHOTO, ""),
    "untyped": ("application/x-image", RED, "*/*"),
    "batch": (JSON, batch(GREEN, RED, PHOTO), JSON),
    "batch of one": ("Application/JSON; charset=utf-8", batch(RED), JSON),
    "largest batch": (JSON, batch(*[RED, GREEN] * 32), JSON),
}
BAD: dict[str, tuple[Request, str, str]] = {
    "type": (("text/plain", RED, JSON), "UnsupportedContentType", "'text/plain' is not one of image/png"),
    "accept": (("image/png", RED, "text/csv"), "UnsupportedContentType", "accepts only 'text/csv'"),
    "no image": (("image/png", b"hello", JSON), "ImageUnreadable", "not a readable PNG or JPEG"),
    "no JSON": ((JSON, RED, JSON), "BatchMalformed", "The batch is no JSON"),
    "deep JSON": ((JSON, b"[" * 100_000, JSON), "BatchMalformed", "The batch is no JSON"),
    "an object": ((JSON, b'{"images": []}', JSON), "BatchMalformed", "no JSON array of images in base64"),
    "numbers": ((JSON, b"[1, 2]", JSON), "BatchMalformed", "no JSON array of images in base64"),
    "empty": ((JSON, b"[]", JSON), "BatchMalformed", "has 0 images; 1 to 64 are accepted"),
    "too many": ((JSON, batch(*[RED] * 65), JSON), "BatchMalformed", "has 65 images; 1 to 64 are accepted"),
    "not base64": (
        (JSON, b'["' + base64.b64encode(RED) + b'", "?!"]', JSON),
        "ImageUnreadable",
        "Image 1: the text is",
    ),
    "umlauts": ((JSON, '["äöü"]'.encode(), JSON), "ImageUnreadable", "Image 0: the text is not base64"),
    "one of them no image": ((JSON, batch(RED, GREEN, b"hello"), JSON), "ImageUnreadable", "Image 2: The body is not"),
    "one of them huge": ((JSON, batch(RED, header_of_a_huge_png()), JSON), "ImageTooLarge", "Image 1: The image has"),
    "too long": ((JSON, b" " * (images.MAX_BYTES + 1), JSON), "ImageTooLarge", "bytes; at most"),
}


@pytest.fixture(scope="module")
def answers(finished: Container) -> dict[str, Any]:
    requests = [*GOOD.values(), *(request for request, _, _ in BAD.values())]
    found = ask(finished, finished.folder / "model", requests)
    return dict(zip([*GOOD, *BAD], found, strict=True))


def test_one_image_gives_one_array_of_probabilities(answers: dict[str, Any]) -> None:
    for name, best in (("red", 0), ("green", 1), ("photo", 1), ("untyped", 0)):
        error, text = answers[name]
        probabilities = json.loads(text)
        assert error is None
        assert sum(probabilities) == pytest.approx(1, abs=2e-6)
        assert probabilities.index(max(probabilities)) == best


def test_a_batch_gives_an_array_of_them_in_order(answers: dict[str, Any]) -> None:
    green, red, photo = json.loads(answers["batch"][1])
    for name, probabilities in (("green", green), ("red", red), ("photo", photo)):
        assert probabilities == pytest.approx(json.loads(answers[name][1]), abs=1e-4)
    assert json.loads(answers["batch of one"][1]) == [pytest.approx(red, abs=1e-4)]
    largest = json.loads(answers["largest batch"][1])
    assert [probabilities[0] > 0.5 for probabilities in largest] == [True, False] * 32


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_by_name(answers: dict[str, Any], name: str) -> None:
    _, error, message = BAD[name]
    assert answers[name][0] == error
    assert message in answers[name][1]
    assert "\n" not in answers[name][1]


def test_serving_computes_what_training_has_validated(finished: Container) -> None:
    script = """
import sys, torch
sys.path.insert(0, sys.argv[1] + "/code")
from network import Network, fold_batch_norm, without_modules
network = Network(2).eval().requires_grad_(False)
for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5), torch.nn.init.uniform_(norm.bias, -1, 1)
x = torch.rand(3, 3, 160, 160)
trained = network(x)
fold_batch_norm(network)
served = without_modules(network)(x)
assert torch.allclose(trained, served, atol=1e-4), (trained, served)
assert torch.equal(network(x), served)
"""
    command = [str(finished.python), "-B", "-c", script, str(finished.folder / "model")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_temperature_is_applied(finished: Container, tmp_path: Path) -> None:
    def odds(temperature: float) -> float:
        folder = tmp_path / str(temperature)
        shutil.copytree(finished.folder / "model", folder)
        description = finished.description() | {"temperature": temperature}
        (folder / "model.json").write_text(json.dumps(description))
        red, green = json.loads(ask(finished, folder, [("image/png", picture((130, 120, 60)), JSON)])[0][1])
        return math.log(red / green)

    assert odds(4.0) == pytest.approx(odds(2.0) / 2, rel=1e-2)

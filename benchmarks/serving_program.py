"""Times our served network beside two others, in one process, in turns. Run by benchmarks/serving_latency.py.

    python serving_program.py ARTIFACT IMAGES ROUNDS

Runs in the model's environment, where the toolkit is not. IMAGES is a folder of PNG files. Prints one JSON object:
lists of seconds, one entry an image or a request.
"""

from __future__ import annotations

import base64
import importlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BATCH = 64
BATCH_ROUNDS = 5
RESNET_SIDE = 224
RESNET_BLOCKS = (3, 8, 36, 3)  # 152 layers
RESNET_EVERY = 10  # rounds: it is slow
WARM_UP = 3

Answer = Callable[[bytes], str]


def main() -> None:
    """Measure and print."""
    artifact, folder, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sys.path.insert(0, str(artifact / "code"))
    torch: Any = importlib.import_module("torch")  # neither is in the environment that the types are checked in
    program: Any = importlib.import_module("inference")
    classifier = program.model_fn(str(artifact))
    torch.set_num_threads(1)
    pngs = [path.read_bytes() for path in sorted(folder.glob("*.png"))]

    def served(png: bytes) -> str:
        return respond(program, classifier, png, "image/png")

    answers = {
        "served": served,
        "plain": plain(torch, program, classifier),
        "resnet152": resnet152(torch, program),
    }
    for answer, _ in itertools.product(answers.values(), range(WARM_UP)):
        answer(pngs[0])
    seconds: dict[str, list[float]] = {name: [] for name in (*answers, "batch", "singles")}
    images = itertools.cycle(pngs)
    for number, png in zip(range(rounds), images, strict=False):
        for name, answer in answers.items():
            if name != "resnet152" or number % RESNET_EVERY == 0:
                seconds[name].append(timed(answer, png))
    many = list(itertools.islice(images, BATCH))
    body = json.dumps([base64.b64encode(png).decode() for png in many]).encode()
    for _ in range(BATCH_ROUNDS):
        seconds["batch"].append(timed(lambda batch: respond(program, classifier, batch, "application/json"), body))
        seconds["singles"].append(sum(timed(served, png) for png in many))
    print(json.dumps(seconds))


def respond(program: Any, classifier: Any, body: bytes, content_type: str) -> str:
    """Answer a request as the container does."""
    data = program.input_fn(body, content_type)
    return str(program.output_fn(program.predict_fn(data, classifier), "application/json"))


def timed(answer: Answer, body: bytes) -> float:
    """Return the seconds of one answer."""
    began = time.perf_counter()
    answer(body)
    return time.perf_counter() - began


def plain(torch: Any, program: Any, classifier: Any) -> Answer:
    """Our network as torch makes it: batch normalization by itself, the default memory layout."""
    network = program.Network(len(classifier.classes)).eval()

    def answer(png: bytes) -> str:
        view = program.images.square(program.input_fn(png, "image/png"), classifier.view_side)[None]
        pixels = [program.images.network_input(view, *look) for look in program.images.looks(classifier.input_side)]
        whole, close = (torch.from_numpy(look).permute(0, 3, 1, 2).contiguous() for look in pixels)
        with torch.no_grad():
            logits = program.two_look_logits(network, whole, close)
        return json.dumps(program.softmax(logits.double().numpy(), classifier.temperature)[0].tolist())

    return answer


def resnet152(torch: Any, program: Any) -> Answer:
    """The built-in algorithm's default: a ResNet of 152 layers, 224 px, one look. Its weights do not matter here."""
    nn = torch.nn

    def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[Any]:
        return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]

    class Bottleneck(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                *(*convolution(inputs, width, 1), nn.ReLU()),
                *(*convolution(width, width, 3, stride), nn.ReLU()),
                *convolution(width, 4 * width, 1),
            )
            same = stride == 1 and inputs == 4 * width
            self.shortcut = nn.Identity() if same else nn.Sequential(*convolution(inputs, 4 * width, 1, stride))

        def forward(self, x: Any) -> Any:
            return torch.relu(self.layers(x) + self.shortcut(x))

    def blocks() -> Iterator[Any]:
        inputs = 64
        for stage, count in enumerate(RESNET_BLOCKS):
            width = 64 * 2**stage
            for number in range(count):
                yield Bottleneck(inputs, width, 2 if stage and number == 0 else 1)
                inputs = 4 * width

    stem = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 2)]
    network = nn.Sequential(*stem, *blocks(), *end).eval()

    def answer(png: bytes) -> str:
        view = program.images.square(program.input_fn(png, "image/png"), RESNET_SIDE)[None]
        pixels = torch.from_numpy(program.images.network_input(view, RESNET_SIDE)).permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            return json.dumps(torch.softmax(network(pixels)[0], 0).tolist())

    return answer


if __name__ == "__main__":
    main()

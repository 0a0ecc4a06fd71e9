"""Serve the classifier in SageMaker's PyTorch inference container, which calls the four functions below in turn.

Request: a PNG or JPEG image. Response: a JSON array of calibrated probabilities in class order, e.g. [0.91, 0.09].
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import images
import torch
from calibration import softmax
from errors import UnsupportedContentType
from network import Network, fold_batch_norm, mirrored_logits
from PIL import Image

REQUEST_TYPES = ("image/png", "image/jpeg", "application/x-image")
RESPONSE_TYPE = "application/json"


@dataclass(frozen=True)
class Classifier:
    """A network ready to serve, and what its artifact says about it."""

    network: Network
    classes: tuple[str, ...]
    view_side: int
    input_side: int
    temperature: float

    @torch.inference_mode()
    def probabilities(self, image: Image.Image) -> list[float]:
        """Classify one RGB image of any size: one calibrated probability a class."""
        view = images.square(image, self.view_side)
        pixels = torch.from_numpy(images.network_input(view[None], self.input_side)).permute(0, 3, 1, 2)
        logits = mirrored_logits(self.network, pixels.contiguous(memory_format=torch.channels_last))
        return [float(p) for p in softmax(logits.double().numpy(), self.temperature)[0]]


def media_type(header: str) -> str:
    """Strip parameters and case from a content type: `Image/PNG; q=1` is image/png."""
    return header.partition(";")[0].strip().lower()


def model_fn(model_dir: str) -> Classifier:
    """Load the artifact, and classify one blank image, so that the first request does not pay for the warm-up."""
    # One image keeps one core busy; the server's workers use the others.
    torch.set_num_threads(int(os.environ.get("SERVING_THREADS", "1")))
    folder = Path(model_dir)
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    classes = tuple(description["classes"])
    network = Network(len(classes)).eval().requires_grad_(False)
    fold_batch_norm(network)  # as the weights are
    network.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu", weights_only=True))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = description["preprocessing"]
    classifier = Classifier(
        network=network,
        classes=classes,
        view_side=preprocessing["view_side"],
        input_side=preprocessing["input_side"],
        temperature=description["temperature"],
    )
    classifier.probabilities(Image.new("RGB", (classifier.view_side, classifier.view_side)))
    return classifier


def input_fn(body: bytes | bytearray, content_type: str) -> Image.Image:
    """Decode a request.

    Raises:
        UnsupportedContentType: not one of `REQUEST_TYPES`.
        ImageTooLarge: see `images.decode`.
        ImageUnreadable: see `images.decode`.
    """
    if media_type(content_type) not in REQUEST_TYPES:
        raise UnsupportedContentType(f"Content type {content_type!r} is not one of {', '.join(REQUEST_TYPES)}.")
    return images.decode(bytes(body))


def predict_fn(data: Image.Image, model: Classifier) -> list[float]:
    """Classify a decoded image: one probability a class."""
    return model.probabilities(data)


def output_fn(prediction: Sequence[float], accept: str) -> str:
    """Encode the probabilities, rounded to six places, as JSON.

    Raises:
        UnsupportedContentType: the caller accepts something else.
    """
    accepted = {media_type(part) for part in (accept or "*/*").split(",")}
    if not accepted & {RESPONSE_TYPE, "application/*", "*/*"}:
        raise UnsupportedContentType(f"The response is {RESPONSE_TYPE}; the request accepts only {accept!r}.")
    return json.dumps([round(p, 6) for p in prediction])

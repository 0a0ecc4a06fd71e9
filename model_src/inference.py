"""Serve the classifier in SageMaker's PyTorch inference container, which calls the four functions below in turn.

    image/png, image/jpeg    an image                              ->  [0.91, 0.09]
    application/json         ["<image in base64>", "<another>"]    ->  [[0.91, 0.09], [0.02, 0.98]]

The response is JSON: calibrated probabilities in class order, for a batch one array of them an image.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import images
import numpy as np
import torch
from calibration import softmax
from errors import BatchMalformed, ImageTooLarge, ImageUnreadable, UnsupportedContentType
from network import Network, Step, fold_batch_norm, two_look_logits, without_modules
from PIL import Image

IMAGE_TYPES = ("image/png", "image/jpeg", "application/x-image")
JSON = "application/json"
MAX_BATCH = 64  # images in a request
CHUNK = 16  # images at once: the quickest; more leave the processor's cache

Probabilities = list[float]


@dataclass(frozen=True)
class Classifier:
    """A network ready to serve, and what its artifact says about it."""

    network: Step
    classes: tuple[str, ...]
    view_side: int
    input_side: int
    temperature: float

    @torch.inference_mode()
    def probabilities(self, views: images.Pixels) -> list[Probabilities]:
        """Classify views [N, V, V, 3]: for each, one calibrated probability a class."""
        found: list[Probabilities] = []
        for first in range(0, len(views), CHUNK):
            chunk = views[first : first + CHUNK]
            whole, close = (self._input(chunk, look) for look in images.looks(self.input_side))
            logits = two_look_logits(self.network, whole, close)
            found += softmax(logits.double().numpy(), self.temperature).tolist()
        return found

    def _input(self, views: images.Pixels, look: images.Look) -> torch.Tensor:
        pixels = torch.from_numpy(images.network_input(views, *look)).permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=torch.channels_last)


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
        network=without_modules(network),
        classes=classes,
        view_side=preprocessing["view_side"],
        input_side=preprocessing["input_side"],
        temperature=description["temperature"],
    )
    classifier.probabilities(np.zeros((1, classifier.view_side, classifier.view_side, 3), dtype=np.uint8))
    return classifier


def input_fn(body: bytes | bytearray | str, content_type: str) -> Image.Image | Iterator[Image.Image]:
    """Decode a request: one image, or a batch of them, each decoded when it is taken, so that only one is in memory.

    Args:
        body: of the request; SageMaker's inference toolkit has decoded JSON to text.
        content_type: of the request.

    Raises:
        UnsupportedContentType: neither one of `IMAGE_TYPES` nor JSON.
        ImageTooLarge: see `images.decode`; of a batch, its message names the image by index from 0.
        ImageUnreadable: the same.
        BatchMalformed: the batch is no JSON array of 1 to `MAX_BATCH` texts.
    """
    if isinstance(body, str):
        body = body.encode()
    if media_type(content_type) == JSON:
        return decoded(batch(bytes(body)))
    if media_type(content_type) not in IMAGE_TYPES:
        types = ", ".join((*IMAGE_TYPES, JSON))
        raise UnsupportedContentType(f"Content type {content_type!r} is not one of {types}.")
    return images.decode(bytes(body))


def batch(body: bytes) -> list[str]:
    """Read the JSON array of a batch.

    Raises:
        ImageTooLarge: the request is longer than SageMaker accepts.
        BatchMalformed: it is something else.
    """
    if len(body) > images.MAX_BYTES:
        raise ImageTooLarge(f"The batch has {len(body)} bytes; at most {images.MAX_BYTES} are accepted.")
    try:
        texts = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BatchMalformed(f"The batch is no JSON: {error}.") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BatchMalformed("The batch is no JSON array of images in base64.")
    if not 1 <= len(texts) <= MAX_BATCH:
        raise BatchMalformed(f"The batch has {len(texts)} images; 1 to {MAX_BATCH} are accepted.")
    return texts


def decoded(texts: Sequence[str]) -> Iterator[Image.Image]:
    """Decode the images of a batch, one by one."""
    for index, text in enumerate(texts):
        try:
            content = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ImageUnreadable(f"Image {index}: the text is not base64: {error}.") from error
        try:
            yield images.decode(content)
        except (ImageTooLarge, ImageUnreadable) as error:
            raise type(error)(f"Image {index}: {error}") from error


def predict_fn(data: Image.Image | Iterator[Image.Image], model: Classifier) -> Probabilities | list[Probabilities]:
    """Classify what `input_fn` gave: one probability a class; for a batch, such a list an image."""
    if isinstance(data, Image.Image):
        return model.probabilities(images.square(data, model.view_side)[None])[0]
    return model.probabilities(np.stack([images.square(image, model.view_side) for image in data]))


def output_fn(prediction: Probabilities | list[Probabilities], accept: str) -> str:
    """Encode the probabilities, rounded to six places, as JSON.

    Raises:
        UnsupportedContentType: the caller accepts something else.
    """
    accepted = {media_type(part) for part in (accept or "*/*").split(",")}
    if not accepted & {JSON, "application/*", "*/*"}:
        raise UnsupportedContentType(f"The response is {JSON}; the request accepts only {accept!r}.")
    return json.dumps(rounded(prediction))


def rounded(value: float | list[float] | list[Probabilities]) -> object:
    """Round numbers in lists of any depth to six places."""
    return [rounded(part) for part in value] if isinstance(value, list) else round(value, 6)

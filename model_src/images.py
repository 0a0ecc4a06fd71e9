"""From encoded bytes to the network's input, the same way in training and in serving.

An image passes two sizes. First `square` brings it to the model's *view*, the hyperparameter `image_shape`
(3,32,32: 32 px), whatever its size and shape were: a large photo then looks like the images the model was trained on,
which were made by shrinking photos. Then `network_input` enlarges the view to the resolution the ImageNet weights
were learned for.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from errors import ImageTooLarge, ImageUnreadable
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES = 6 * 1024 * 1024  # SageMaker's own limit on a request
MAX_PIXELS = 24_000_000  # 72 MB decoded
FORMATS = ("PNG", "JPEG")
SMALLEST_INPUT = 128  # px; below, the ImageNet features lose their meaning
STRIDE = 32  # the network halves its input five times
# EfficientNet-Lite was trained on (x - 127) / 128, not on the per-channel statistics usual in torch. With those,
# cross-validated accuracy of its frozen features is one percentage point lower.
MEAN, SCALE = 127.0, 128.0
# Training zooms in and out, so that vehicles seem larger than in the whole view: serving enlarges it more than training
# does, and takes a second look at its middle (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").
# In cross-validation that corrects a fifth of the errors of a whole and a mirrored look at training's size.
ENLARGED, CLOSE_UP = 1.25, 0.85

Pixels = NDArray[np.uint8]


class Look(NamedTuple):
    """What the network sees of a view: the middle `part` of its side, enlarged to `side` px."""

    side: int
    part: float


def decode(body: bytes) -> Image.Image:
    """Decode PNG or JPEG bytes to RGB; transparency becomes white, a camera's rotation is applied.

    Size and format are read from the header and checked before any pixel is decoded.

    Raises:
        ImageTooLarge: more than `MAX_BYTES` bytes or `MAX_PIXELS` pixels.
        ImageUnreadable: not a PNG or JPEG, or a damaged one.
    """
    if len(body) > MAX_BYTES:
        raise ImageTooLarge(f"The image has {len(body)} bytes; at most {MAX_BYTES} are accepted.")
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageTooLarge(f"The image has {width} x {height} pixels; at most {MAX_PIXELS} are accepted.")
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # Pillow would clip these to white
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright)
            return upright.convert("RGB")
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"The image has too many pixels; at most {MAX_PIXELS} are accepted.") from error
    except UnidentifiedImageError as error:  # its message shows a memory address
        raise ImageUnreadable("The body is not a readable PNG or JPEG image: unknown format") from error
    except ImageTooLarge:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged bytes: OSError, SyntaxError, struct.error …
        raise ImageUnreadable(f"The body is not a readable PNG or JPEG image: {error}") from error


def square(image: Image.Image, side: int) -> Pixels:
    """Fit an RGB image of any shape into `side` x `side` px without distorting it; its edge pixels fill the rest.

    Returns:
        Pixels [side, side, 3].
    """
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (side - width) // 2, (side - height) // 2
    around = ((top, side - height - top), (left, side - width - left), (0, 0))
    return np.pad(np.asarray(image), around, mode="edge")


def input_side(view: int) -> int:
    """Side in px of the network's input for images of `view` px: a multiple of the network's stride."""
    return max(SMALLEST_INPUT, -(-view // STRIDE) * STRIDE)


def looks(side: int) -> tuple[Look, Look]:
    """Say how serving looks at views whose side in training was `side` px: at all of it, and at its middle."""
    return Look(round(side * ENLARGED / STRIDE) * STRIDE, 1.0), Look(side, CLOSE_UP)


def network_input(views: Pixels, side: int, part: float = 1.0) -> NDArray[np.float32]:
    """Enlarge views [N, V, V, 3] to `side` px and normalize them: float32 [N, side, side, 3] in about [-1, 1].

    Of each view only the middle is taken, `part` of its side; 1 is all of it.
    """
    size, far = (side, side), views.shape[1]
    near = far * (1 - part) / 2
    box = (near, near, far - near, far - near)
    enlarged = [np.asarray(Image.fromarray(view).resize(size, Image.Resampling.BICUBIC, box)) for view in views]
    return (np.stack(enlarged).astype(np.float32) - MEAN) / SCALE

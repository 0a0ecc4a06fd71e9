"""The heaviest uploads that are allowed, and hostile ones, within the memory and the time that Terraform gives.

Each is decoded in a process of its own that may take no more address space than the function has memory, which is
stricter than Lambda: that counts only what is used. The time is the processor's, at the share of it that comes with the
memory, so that it does not depend on what else the machine does.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from tests.lambda_src.conftest import AWS_ENVIRONMENT, FUNCTIONS
from tests.lambda_src.png_files import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, assemble, chunk, header

# Lambda gives a whole processor at this memory, and less in proportion.
MEMORY_MB_OF_A_PROCESSOR = 1769

VARIABLES = (FUNCTIONS.parent / "terraform" / "modules" / "service" / "variables.tf").read_text(encoding="utf-8")
MAX_BYTES, MAX_PIXELS = (
    int(re.findall(rf"{limit} += optional\(number, (\d+)\)", VARIABLES)[0]) for limit in ("max_bytes", "max_pixels")
)
SIDE = int(MAX_PIXELS**0.5)
# The thinnest, which have the most rows, or the longest.
LENGTH = 65_535

DECODE = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20,) * 2)
sys.path.insert(0, sys.argv[2])
import handler
with open(sys.argv[3], "rb") as file:
    content = file.read()
started = time.process_time()
try:
    outcome = len(handler.to_png(content))
except Exception as error:
    outcome = type(error).__name__
print(json.dumps([outcome, time.process_time() - started]))
"""


@pytest.fixture
def decode(configured, tmp_path):
    memory_mb, timeout = (configured("serialize_image", setting) for setting in ("memory_mb", "timeout_seconds"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    limits = {"MAX_IMAGE_BYTES": str(MAX_BYTES), "MAX_IMAGE_PIXELS": str(MAX_PIXELS)}

    def run(content):
        """What becomes of an upload: the size of a PNG, or the name of an error."""
        assert len(content) <= MAX_BYTES
        upload = tmp_path / "upload"
        upload.write_bytes(content)
        command = [sys.executable, "-c", DECODE, str(memory_mb), str(FUNCTIONS / "serialize_image"), str(upload)]
        result = subprocess.run(
            command,
            env=environment | AWS_ENVIRONMENT | limits,
            capture_output=True,
            text=True,
            timeout=10 * timeout,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        outcome, seconds = json.loads(result.stdout.splitlines()[-1])
        assert seconds * MEMORY_MB_OF_A_PROCESSOR / memory_mb < timeout / 2
        return outcome

    return run


def encoded(image, image_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def blank_png(kind, size=(SIDE, SIDE), before=b"", interlaced=False):
    colour_type, bits = kind
    channels = {GREY: 1, PALETTE: 1, RGB: 3, GREY_ALPHA: 2, RGBA: 4}[colour_type]
    row = size[0] * channels * bits // 8 + 2
    # Enough for the rows of all passes, which end in some bits more.
    data = zlib.compress(bytes(row * size[1] * (2 if interlaced else 1)), 1)
    return assemble(header(size, kind, interlaced), before, chunk(b"IDAT", data))


def heaviest_jpeg(mode, **options):
    """Noise at the best quality that the limit allows."""
    grey = Image.effect_noise((SIDE, SIDE), 30)
    image = grey if mode == "L" else Image.merge(mode, [grey] * len(mode))
    contents = (encoded(image, "JPEG", quality=quality, **options) for quality in (60, 45, 30, 15, 5))
    return next(content for content in contents if len(content) <= MAX_BYTES)


def tiled(mode, side=SIDE):
    """A large image that is quick to encode."""
    return Image.effect_noise((100, 100), 60).convert(mode).resize((side, side), Image.Resampling.NEAREST)


TRANSPARENT_RGB = chunk(b"tRNS", bytes(6))
TRANSPARENT_PALETTE = chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(256))
LARGEST = {
    "PNG, colour with alpha": lambda: blank_png((RGBA, 8)),
    "PNG, colour with alpha, interlaced": lambda: blank_png((RGBA, 8), interlaced=True),
    "PNG, colour with alpha of 16 bits": lambda: blank_png((RGBA, 16)),
    "PNG, colour of 16 bits, one transparent": lambda: blank_png((RGB, 16), before=TRANSPARENT_RGB),
    "PNG, grey of 16 bits, one transparent": lambda: blank_png((GREY, 16), before=chunk(b"tRNS", bytes(2))),
    "PNG, black and white": lambda: blank_png((GREY, 1)),
    "PNG, palette with alpha": lambda: blank_png((PALETTE, 8), before=TRANSPARENT_PALETTE),
    "PNG, palette with alpha, highest": lambda: blank_png(
        (PALETTE, 8), (MAX_PIXELS // LENGTH, LENGTH), TRANSPARENT_PALETTE
    ),
    "PNG, one colour transparent, highest": lambda: blank_png(
        (RGB, 8), (MAX_PIXELS // LENGTH, LENGTH), TRANSPARENT_RGB
    ),
    "PNG, one colour transparent, widest": lambda: blank_png((RGB, 8), (LENGTH, MAX_PIXELS // LENGTH), TRANSPARENT_RGB),
    "JPEG": lambda: heaviest_jpeg("RGB", subsampling=0),
    "JPEG, progressive": lambda: heaviest_jpeg("RGB", subsampling=0, progressive=True),
    "JPEG, progressive, for print": lambda: heaviest_jpeg("CMYK", progressive=True),
    "JPEG, grey": lambda: heaviest_jpeg("L"),
    "WebP": lambda: encoded(tiled("RGB"), "WEBP", method=0),
    "WebP, lossless with alpha": lambda: encoded(tiled("RGBA"), "WEBP", lossless=True, method=0),
    "GIF, transparent": lambda: encoded(tiled("P"), "GIF", transparency=0),
    "BMP, black and white": lambda: encoded(tiled("1"), "BMP"),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_upload_of_each_kind_is_accepted(decode, name):
    content = LARGEST[name]()
    image = Image.open(io.BytesIO(content))
    assert MAX_PIXELS - LENGTH < image.width * image.height <= MAX_PIXELS
    assert isinstance(decode(content), int)


def repeated(content, at, piece, room=MAX_BYTES):
    """A file with a piece put in as often as it fits."""
    return content[:at] + piece * ((room - len(content)) // len(piece)) + content[at:]


PNG = blank_png((RGB, 8), (2, 2))
JPEG = encoded(Image.new("RGB", (16, 16)), "JPEG")
GIF = encoded(Image.new("P", (2, 2)), "GIF")
GIF_IMAGE = GIF.rindex(b",")
SCANS = encoded(Image.new("RGB", (SIDE, SIDE), (10, 200, 30)), "JPEG", progressive=True)
SCAN = SCANS[SCANS.rindex(b"\xff\xda") : -2]
RUNS_OF_TEN = b"\x0a\x01" * ((MAX_BYTES - 2000) // 2)
RUN_LENGTH_BMP = (
    b"BM"
    + struct.pack("<IHHI", 1078 + len(RUNS_OF_TEN), 0, 0, 1078)
    + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, len(RUNS_OF_TEN), 0, 0, 256, 0)
    + bytes(1024)
    + RUNS_OF_TEN
)
HOSTILE = {
    "a PNG of empty chunks": lambda: repeated(PNG, 33, chunk(b"prVt")),
    "a PNG of short texts": lambda: repeated(PNG, 33, chunk(b"tEXt", b"a\0b")),
    "a PNG of empty data": lambda: repeated(PNG, 33, chunk(b"IDAT")),
    "a GIF of short comments": lambda: repeated(GIF, GIF_IMAGE, b"\x21\xfe\x01a\0"),
    "a GIF of one comment": lambda: repeated(GIF, GIF_IMAGE, b"\x21\xfe" + b"\xfe" * 255 * 160 + b"\0"),
    "a GIF of nothing": lambda: repeated(GIF, GIF_IMAGE, b"\0"),
    "a JPEG of empty notes": lambda: repeated(JPEG, 2, b"\xff\xe5\0\x02"),
    "a JPEG of empty comments": lambda: repeated(JPEG, 2, b"\xff\xfe\0\x02"),
    "a JPEG of fill bytes": lambda: repeated(JPEG, 2, b"\xff"),
    "a JPEG of profiles": lambda: repeated(JPEG, 2, b"\xff\xe2\0\x10ICC_PROFILE\0\x01\x01"),
    "a JPEG of as many scans as may be": lambda: repeated(SCANS, -2, SCAN, len(SCANS) + 290 * len(SCAN)),
    "a JPEG of scans": lambda: repeated(SCANS, -2, SCAN),
    "a BMP of short runs": lambda: RUN_LENGTH_BMP,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_upload_costs_no_more_than_the_function_has(decode, name):
    outcome = decode(HOSTILE[name]())
    assert isinstance(outcome, int) or outcome in ("ImageTooLarge", "ImageUnreadable")


def test_hundreds_of_scans_are_refused(load_handler):
    function = load_handler("serialize_image")
    with pytest.raises(function.ImageUnreadable, match="more than 300 scans"):
        function.to_png(SCANS[:-2] + SCAN * 300 + SCANS[-2:])


def test_the_functions_own_defaults_are_terraforms(load_handler):
    function = load_handler("serialize_image")
    assert (function.MAX_IMAGE_BYTES, function.MAX_IMAGE_PIXELS) == (MAX_BYTES, MAX_PIXELS)

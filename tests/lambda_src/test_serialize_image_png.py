"""The kinds of PNG of Willem van Schaik's PngSuite, and its broken files, whose names the tests bear.

The pixels are compared with the samples that went into the file, scaled to eight bits and laid on white by hand.
"""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from tests.lambda_src.png_files import (
    ADAM7,
    CHANNELS,
    GREY,
    GREY_ALPHA,
    KINDS,
    PALETTE,
    RGB,
    RGBA,
    SIGNATURE,
    assemble,
    chunk,
    header,
    rows,
)

SIZE = (33, 19)
COLOURS = [((index * 73) % 256, (index * 151) % 256, (index * 199) % 256) for index in range(256)]
KIND_NAMES = {GREY: "grey", RGB: "rgb", PALETTE: "palette", GREY_ALPHA: "grey and alpha", RGBA: "rgba"}


def kind_name(kind):
    return f"{KIND_NAMES[kind[0]]} {kind[1]}"


each_kind = pytest.mark.parametrize("kind", KINDS, ids=kind_name)


@pytest.fixture(scope="module")
def function(load_handler):
    return load_handler("serialize_image")


def sampler(kind):
    """Samples that look random and are the same every time.

    Those of 16 bits are such that eight can tell them apart: Pillow knows no colour more exactly, and so what is within
    a step of eight bits of the colour that stands for transparent is transparent, too.
    """
    colour_type, bits = kind

    def sample(x, y):
        values = [zlib.crc32(bytes((x % 256, y % 256, channel))) for channel in range(CHANNELS[colour_type])]
        return tuple(value % 256 * 257 if bits == 16 else value % 2**bits for value in values)

    return sample


def on_white(samples, kind, transparent=None, alphas=()):
    """The colour of a pixel, from its samples; `alphas` are those of the palette."""
    colour_type, bits = kind
    if colour_type == PALETTE:
        colour = COLOURS[samples[0]]
        alpha = alphas[samples[0]] / 255 if samples[0] < len(alphas) else 1
    else:
        scaled = [value * 255 / (2**bits - 1) for value in samples]
        alpha = scaled.pop() / 255 if colour_type in (GREY_ALPHA, RGBA) else 1
        colour = tuple(scaled * 3 if len(scaled) == 1 else scaled)
        if samples == transparent:
            alpha = 0
    return tuple(channel * alpha + 255 * (1 - alpha) for channel in colour)


def pixels_of(function, content):
    image = Image.open(io.BytesIO(function.to_png(content)))
    assert image.mode == "RGB"
    return image.size, list(image.get_flattened_data())


def assert_shows(function, content, size, expected):
    """No channel of any pixel is more than a step and a half away: what two roundings make."""
    shown_size, shown = pixels_of(function, content)
    assert shown_size == size
    wanted = [expected(x, y) for y in range(size[1]) for x in range(size[0])]
    worst = max(abs(have - want) for pair in zip(shown, wanted, strict=True) for have, want in zip(*pair, strict=True))
    assert worst <= 1.5


def palette(kind):
    if kind[0] != PALETTE:
        return b""
    return chunk(b"PLTE", b"".join(bytes(colour) for colour in COLOURS[: 2 ** kind[1]]))


def file_of(kind, size=SIZE, *, interlaced=False, filters=(0,), before=b"", level=6):
    data = zlib.compress(rows(size, kind, sampler(kind), interlaced, filters), level)
    return assemble(header(size, kind, interlaced), palette(kind), before, chunk(b"IDAT", data))


@each_kind
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (4, 0, 3, 1, 2)])
def test_every_kind_in_both_orders_with_every_filter(function, kind, interlaced, filters):
    content = file_of(kind, interlaced=interlaced, filters=filters)
    assert_shows(function, content, SIZE, lambda x, y: on_white(sampler(kind)(x, y), kind))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("side", [*range(1, 10), *range(32, 41)])
def test_every_odd_size(function, side, interlaced):
    for kind in ((PALETTE, 4), (GREY, 1), (RGB, 8)):
        content = file_of(kind, (side, side), interlaced=interlaced)
        assert_shows(function, content, (side, side), lambda x, y, kind=kind: on_white(sampler(kind)(x, y), kind))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] in (GREY, RGB)], ids=kind_name)
def test_a_colour_that_stands_for_transparent(function, kind, interlaced):
    transparent = sampler(kind)(0, 0)
    chunks = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    content = file_of(kind, interlaced=interlaced, before=chunks)
    assert pixels_of(function, content)[1][0] == (255, 255, 255)
    assert_shows(function, content, SIZE, lambda x, y: on_white(sampler(kind)(x, y), kind, transparent))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [1, 2])
def test_a_palette_with_transparent_colours(function, bits, count):
    kind, alphas = (PALETTE, bits), (0, 100)[:count]
    content = file_of(kind, before=chunk(b"tRNS", bytes(alphas)))
    assert_shows(function, content, SIZE, lambda x, y: on_white(sampler(kind)(x, y), kind, alphas=alphas))


ANCILLARY = {
    "bKGD": chunk(b"bKGD", struct.pack(">3H", 10, 20, 30)),
    "cHRM": chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    "gAMA": chunk(b"gAMA", struct.pack(">I", 35_000)),
    "pHYs": chunk(b"pHYs", struct.pack(">IIB", 1, 4, 0)),
    "sBIT": chunk(b"sBIT", bytes((5, 5, 5))),
    "sPLT": chunk(b"sPLT", b"six-cube\0\x08" + bytes(60)),
    "tIME": chunk(b"tIME", struct.pack(">HBBBBB", 2026, 2, 29, 25, 61, 61)),
    "tEXt": chunk(b"tEXt", b"Title\0PngSuite"),
    "zTXt": chunk(b"zTXt", b"Title\0\0" + zlib.compress(b"PngSuite" * 1000)),
    "iTXt": chunk(b"iTXt", b"Title\0\1\0fi\0Otsikko\0" + zlib.compress("Pilvi ☁".encode())),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"no profile" * 100)),
    "eXIf": chunk(b"eXIf", b"MM\0*garbage"),
    "an unknown one": chunk(b"prVt", b"anything"),
}


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", ANCILLARY)
def test_what_a_png_carries_along_does_not_change_its_pixels(function, name):
    content = file_of((RGB, 8), before=ANCILLARY[name])
    assert_shows(function, content, SIZE, lambda x, y: on_white(sampler((RGB, 8))(x, y), (RGB, 8)))


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_data_in_pieces_at_any_compression(function, level, piece):
    data = zlib.compress(rows(SIZE, (RGB, 8), sampler((RGB, 8))), level)
    pieces = [chunk(b"IDAT", data[at : at + piece]) for at in range(0, len(data), piece)]
    content = assemble(header(SIZE, (RGB, 8)), *pieces, chunk(b"IDAT"), ANCILLARY["tEXt"])
    assert_shows(function, content, SIZE, lambda x, y: on_white(sampler((RGB, 8))(x, y), (RGB, 8)))


GOOD = file_of((GREY, 8), (32, 32), level=0)
IHDR, IDAT, IEND = GOOD[8:33], GOOD[33:-12], GOOD[-12:]
RAW = rows((32, 32), (GREY, 8), sampler((GREY, 8)))


def with_header(*fields, data=RAW, before=b""):
    return assemble(chunk(b"IHDR", struct.pack(">IIBBBBB", *fields)), before, chunk(b"IDAT", zlib.compress(data)))


def with_data(data, kind=(GREY, 8), before=b""):
    return assemble(header((32, 32), kind), before, chunk(b"IDAT", data))


BROKEN = {
    # PngSuite's own.
    "xs1n0g01": b"\x0dPNG" + GOOD[4:],
    "xs2n0g01": b"\x89NPG" + GOOD[4:],
    "xs4n0g01": b"\x89PNG\n\n\x1a\n" + GOOD[8:],
    "xs7n0g01": b"\x89PNG\r\n\x1a\r" + GOOD[8:],
    "xcrn0g04": GOOD.replace(b"\n", b"\r"),
    "xlfn0g04": GOOD.replace(b"\r\n", b"\n"),
    "xhdn0g08": SIGNATURE + IHDR[:-4] + b"\0\0\0\0" + IDAT + IEND,
    "xc1n0g08": with_header(32, 32, 8, 1, 0, 0, 0),
    "xc9n2c08": with_header(32, 32, 8, 9, 0, 0, 0),
    "xd0n2c08": with_header(32, 32, 0, 2, 0, 0, 0),
    "xd3n2c08": with_header(32, 32, 3, 2, 0, 0, 0),
    "xd9n2c08": with_header(32, 32, 99, 2, 0, 0, 0),
    "xdtn0g01": SIGNATURE + IHDR + IEND,
    # And more.
    "no header": SIGNATURE + IDAT + IEND,
    "half a header": SIGNATURE + chunk(b"IHDR", IHDR[8:14]) + IDAT + IEND,
    "nothing but the signature": SIGNATURE,
    "no width": with_header(0, 32, 8, 0, 0, 0, 0),
    "no height": with_header(32, 0, 8, 0, 0, 0, 0),
    "neither": with_header(0, 0, 8, 0, 0, 0, 0, data=b""),
    "an unknown filter method": with_header(32, 32, 8, 0, 0, 1, 0),
    "no data in the chunk": with_data(b""),
    "no zlib data": with_data(b"not compressed at all"),
    "a wrong sum of the data": with_data(zlib.compress(RAW)[:-1] + b"\0"),
    "data that ends early": with_data(zlib.compress(RAW)[:300]),
    "too few rows": with_data(zlib.compress(RAW[:-200])),
    "an unknown filter": with_data(zlib.compress(b"\x07" + RAW[1:])),
    "a changed pixel": GOOD.replace(RAW[-8:], bytes(8)),
    "half of the file": GOOD[: len(GOOD) // 2],
    "text that unpacks to 100 MB": with_data(
        zlib.compress(RAW), before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_png_is_unreadable(function, name):
    with pytest.raises(function.ImageUnreadable):
        function.to_png(BROKEN[name])


HARMLESS = {
    # PngSuite's xcsn0g01: the pixels themselves have another sum, zlib's, which is right.
    "a wrong checksum of the data": SIGNATURE + IHDR + IDAT[:-4] + b"\0\0\0\0" + IEND,
    "data that claims to be longer than the file": SIGNATURE + IHDR + struct.pack(">I", 2**31 - 1) + IDAT[4:] + IEND,
    "data of a length that no chunk may have": SIGNATURE + IHDR + struct.pack(">I", 2**32 - 1) + IDAT[4:] + IEND,
    "no end": SIGNATURE + IHDR + IDAT,
    "something behind the end": GOOD + b"something",
    "more data than pixels": with_data(zlib.compress(RAW + bytes(1000))),
    "a palette that grey does not need": with_data(zlib.compress(RAW), before=chunk(b"PLTE", bytes(6))),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_blemish_that_leaves_the_pixels_whole_is_accepted(function, name):
    assert_shows(function, HARMLESS[name], (32, 32), lambda x, y: on_white(sampler((GREY, 8))(x, y), (GREY, 8)))


def test_every_single_byte_may_be_wrong(function):
    """Each in turn: the image is right all the same, or it is refused."""
    content = file_of((RGB, 8), (5, 5))
    right = pixels_of(function, content)
    wrong = []
    for at in range(len(content)):
        try:
            shown = pixels_of(function, content[:at] + bytes((content[at] ^ 0x5A,)) + content[at + 1 :])
        except (function.ImageUnreadable, function.ImageTooLarge):
            continue
        if shown != right:
            wrong.append(at)
    assert wrong == []


def test_it_may_end_at_every_byte(function):
    content = file_of((PALETTE, 4), (9, 9), interlaced=True)
    data_ends = len(content) - len(chunk(b"IEND")) - 4
    for end in range(data_ends - 4):
        with pytest.raises(function.ImageUnreadable):
            function.to_png(content[:end])


def test_the_passes_cover_each_pixel_once():
    """Of the files above, that is."""
    covered = sorted(
        (x, y) for left, top, across, down in ADAM7 for x in range(left, 8, across) for y in range(top, 8, down)
    )
    assert covered == [(x, y) for x in range(8) for y in range(8)]

import base64
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image, ImageFilter

from model_quality.records import LineDamagedError, Picture, image_features, image_size, parse_line
from tests.capture_files import line, png, record


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "output",
    [
        {"data": "[0.75, 0.25]", "encoding": "JSON"},
        {"data": encoded("[0.75, 0.25]"), "encoding": "BASE64"},
        {"data": "0.75,0.25", "encoding": "CSV"},
        {"data": encoded("0.75,0.25\n"), "encoding": "BASE64", "observedContentType": "text/csv"},
        {"data": '{"predictions": [[0.75, 0.25]]}', "encoding": "JSON"},
        {"data": '{"probabilities": [0.75, 0.25]}', "encoding": "JSON"},
    ],
)
def test_reads_every_encoding_of_an_answer(output):
    [row] = parse_line(line(output=output).encode())
    assert row.scores == [0.75, 0.25]


@pytest.mark.parametrize("image", [png(side) for side in (1, 2, 3, 24)])
def test_a_picture_knows_its_length_without_decoding(image):
    picture = Picture(base64.b64encode(image).decode())
    assert (len(picture), picture.decode()) == (len(image), image)


@pytest.mark.parametrize("encoding", ["JSON", "BASE64"])
def test_a_batch_gives_a_row_for_each_image(encoding):
    images = [png(shade=10), png(shade=20)]
    body = json.dumps([base64.b64encode(image).decode() for image in images])
    given = {
        "observedContentType": "application/json",
        "data": body if encoding == "JSON" else encoded(body),
        "encoding": encoding,
    }
    rows = parse_line(line([[0.9, 0.1], [0.2, 0.8]], given=given).encode())
    assert [(row.item, row.scores) for row in rows] == [(0, [0.9, 0.1]), (1, [0.2, 0.8])]
    assert [row.image.decode() for row in rows] == images


def test_an_input_in_csv_or_none_at_all_still_counts():
    [row] = parse_line(line(given={"observedContentType": "text/csv", "data": "1,2,3", "encoding": "CSV"}).encode())
    assert (row.scores, row.image, row.content) == ([0.9, 0.1], None, "")
    without = record()
    del without["captureData"]["endpointInput"]
    assert parse_line(json.dumps(without).encode())[0].image is None


def test_reads_time_latency_and_the_image():
    [row] = parse_line(line(time="2026-11-20T12:15:00+02:00", customAttributes=["latency_ms=12.5"]).encode())
    assert row.time.isoformat() == "2026-11-20T10:15:00+00:00"
    assert row.latency_ms == 12.5
    assert row.image.decode() == png()
    assert len(row.image) == len(png())
    assert row.image.size == (32, 32)
    assert row.content == parse_line(line(event="another").encode())[0].content


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b'{"captureData": ', "no JSON"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"[1, 2]", "no JSON object"),
        (b"[" * 100_000, "no JSON"),
        (b"{}", "no captureData"),
        (line(event="").encode(), "no eventId"),
        (line(event="\ud800").encode(), "no eventId"),
        (line(time="yesterday").encode(), "no inferenceTime"),
        (line(time="0001-01-01T00:00:00+01:00").encode(), "no inferenceTime"),
        (line(time="9" * 1000).encode(), "no inferenceTime: '9{79}$"),
        (line(output={"data": "not found", "encoding": "CSV"}).encode(), "no probabilities"),
        (line(output={"data": "[0.9, NaN]"}).encode(), "no probabilities"),
        (line(output={"data": "[1]"}).encode(), "no probabilities"),
        (line(output={"data": "[0.9, 0.9]"}).encode(), "add up to 1.8"),
        (line(output={"data": 7}).encode(), "endpointOutput has no data"),
        (line(output={"encoding": "XML"}).encode(), "unknown encoding 'XML'"),
        (line(output={"data": "//8=", "encoding": "BASE64"}).encode(), "endpointOutput is no text in base64"),
        (line(given={"data": "%%%%"}).encode(), "endpointInput is no base64"),
        (line(given={"data": "AAA"}).encode(), "endpointInput is no base64"),
        (line(given={"data": "A==="}).encode(), "endpointInput is no base64"),
        (line(given={"data": "Ä" * 4}).encode(), "endpointInput is no base64"),
        (line(given={"data": None}).encode(), "endpointInput has no data"),
        (line(given={"encoding": "XML"}).encode(), "unknown encoding 'XML'"),
        (line(output={"data": "[[0.9, 0.1], 3]"}).encode(), "no probabilities"),
    ],
)
def test_says_what_is_wrong_with_a_damaged_line(damaged, reason):
    with pytest.raises(LineDamagedError, match=reason):
        parse_line(damaged)


def test_image_sizes_of_png_jpeg_and_no_image():
    jpeg = io.BytesIO()
    Image.new("RGB", (40, 20)).save(jpeg, "JPEG")
    assert image_size(png(24)) == (24, 24)
    assert image_size(jpeg.getvalue()) == (40, 20)
    assert image_size(b"text") is None


def test_an_image_of_too_many_pixels_is_not_decoded_whatever_its_first_chunk_says():
    whole = io.BytesIO()
    Image.new("1", (6000, 6000)).save(whole, "PNG")
    header, rest = whole.getvalue()[:8], whole.getvalue()[8:]
    before = struct.pack(">I", 13) + b"tEXt" + struct.pack(">II", 32, 32) + bytes(5) + bytes(4)
    assert image_size(header + before + rest) != (32, 32)
    assert image_features(header + before + rest) is None
    assert image_features(whole.getvalue()) is None


def test_blur_takes_sharpness_and_dark_takes_brightness():
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))

    def features(image):
        content = io.BytesIO()
        image.save(content, "PNG")
        return image_features(content.getvalue())

    bright, sharp = features(photo)
    assert features(photo.filter(ImageFilter.GaussianBlur(4)))[1] < sharp / 3
    assert features(photo.point(lambda value: value // 3))[0] < bright / 2
    assert image_features(b"text") is None
    assert image_features(png()[:60]) is None

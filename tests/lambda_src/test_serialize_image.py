"""Whatever is uploaded: either a small RGB PNG comes out, or one of three errors that say what is wrong."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer
from unittest.mock import Mock

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.response import StreamingBody
from botocore.stub import Stubber
from moto import mock_aws
from PIL import Image

BUCKET = "vehicles-dev"
# Step Functions takes 262,144 bytes.
PAYLOAD_LIMIT = 230_000
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
# An image with RED GREEN in its upper and BLUE WHITE in its lower half has, turned as EXIF's orientation says, these
# colours at its top left and bottom right.
ORIENTATIONS = {
    1: (RED, WHITE),
    2: (GREEN, BLUE),
    3: (WHITE, RED),
    4: (BLUE, GREEN),
    5: (RED, WHITE),
    6: (BLUE, GREEN),
    7: (WHITE, RED),
    8: (GREEN, BLUE),
}


@pytest.fixture(scope="module")
def function(load_handler):
    with mock_aws():
        module = load_handler("serialize_image", AWS_LAMBDA_FUNCTION_NAME="serialize-dev")
        module.s3.create_bucket(Bucket=BUCKET)
        yield module


def serialize(function, content, key="incoming/photo"):
    """Uploads an object, calls the function, and returns the image that travels on."""
    function.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    record = function.handler({"s3_bucket": BUCKET, "s3_key": key}, None)
    assert record.keys() == {"image_data", "s3_bucket", "s3_key", "inferences"}
    assert (record["s3_bucket"], record["s3_key"], record["inferences"]) == (BUCKET, key, [])
    assert len(json.dumps(record)) < PAYLOAD_LIMIT
    image = Image.open(io.BytesIO(base64.b64decode(record["image_data"])), formats=["PNG"])
    image.load()
    assert image.mode == "RGB"
    assert max(image.size) <= 224
    assert image.info == {}
    return image


def encode(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_with_header(width, height):
    """A PNG that announces a size which its few bytes of pixels do not have."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def noise(size, mode="RGB"):
    return Image.frombytes(mode, size, os.urandom(size[0] * size[1] * len(mode)))


def close_to(pixel, colour, tolerance=4):
    return all(abs(have - want) <= tolerance for have, want in zip(pixel, colour, strict=True))


class TestThePhotosThatPass:
    def test_the_example(self, function, example, printed_metrics):
        event, expected = example("serialize_image")
        png = base64.b64decode(expected["image_data"])
        image = serialize(function, png, event["s3_key"])
        assert [image.getpixel(at) for at in ((0, 0), (1, 0), (0, 1), (1, 1))] == [RED, GREEN, BLUE, WHITE]
        [metric] = printed_metrics()
        assert (metric["FunctionName"], metric["ImageBytes"]) == ("serialize-dev", len(png))
        [declaration] = metric["_aws"]["CloudWatchMetrics"]
        assert declaration["Metrics"] == [{"Name": "ImageBytes", "Unit": "Bytes"}]
        # Compared as pixels above: how a PNG is compressed depends on the zlib that Pillow was built with.
        assert function.handler(event, None) | {"image_data": expected["image_data"]} == expected

    def test_a_small_image_keeps_every_pixel(self, function):
        original = noise((32, 32))
        assert serialize(function, encode(original)).tobytes() == original.tobytes()

    @pytest.mark.parametrize("image_format", ["BMP", "GIF", "JPEG", "PNG", "WEBP"])
    def test_every_accepted_format_whatever_the_key_says(self, function, image_format):
        image = serialize(function, encode(Image.new("RGB", (300, 200), RED), image_format), "incoming/a.txt")
        assert image.size == (224, 149)
        assert close_to(image.getpixel((100, 100)), RED)

    @pytest.mark.parametrize("quality", [75, 95])
    def test_a_cmyk_jpeg(self, function, quality):
        cmyk = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
        assert close_to(serialize(function, encode(cmyk, "JPEG", quality=quality)).getpixel((20, 20)), RED)

    def test_sixteen_bit_grey_keeps_its_shades(self, function):
        image = Image.new("I;16", (3, 1))
        for x, value in enumerate((0, 32_768, 65_535)):
            image.putpixel((x, 0), value)
        shades = serialize(function, encode(image))
        assert [shades.getpixel((x, 0)) for x in range(3)] == [BLACK, (127, 127, 127), WHITE]

    def test_sixteen_bit_grey_is_reduced(self, function):
        assert serialize(function, encode(Image.new("I;16", (500, 500), 32_768))).getpixel((9, 9)) == (127, 127, 127)

    def test_a_palette_with_a_transparent_colour(self, function):
        image = Image.new("P", (2, 1))
        image.putpalette([*BLACK, *BLUE])
        image.putpixel((1, 0), 1)
        result = serialize(function, encode(image, transparency=0))
        assert [result.getpixel((x, 0)) for x in range(2)] == [WHITE, BLUE]

    @pytest.mark.parametrize("size", [(10, 10), (500, 500)])
    def test_what_is_transparent_becomes_white(self, function, size):
        image = Image.new("RGBA", size, (255, 0, 0, 0))
        image.paste((0, 0, 255, 255), (0, 0, size[0] // 2, size[1]))
        result = serialize(function, encode(image))
        assert result.getpixel((0, 0)) == BLUE
        assert result.getpixel((result.width - 1, 0)) == WHITE

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_a_colour_that_stands_for_transparent_becomes_white(self, function, mode):
        image = Image.new(mode, (2, 2), 0)
        content = encode(image, transparency=0 if mode == "L" else BLACK)
        assert serialize(function, content).getpixel((0, 0)) == WHITE

    @pytest.mark.parametrize(("mode", "value"), [("L", 128), ("LA", (128, 255)), ("1", 1)])
    def test_grey_and_black_and_white(self, function, mode, value):
        expected = WHITE if mode == "1" else (128, 128, 128)
        assert serialize(function, encode(Image.new(mode, (300, 300), value))).getpixel((5, 5)) == expected

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
    def test_a_photo_taken_upright_arrives_upright(self, function, image_format):
        """Orientation 6: the camera stored the photo lying on its left side."""
        image = Image.new("RGB", (400, 200), BLUE)
        image.paste(RED, (0, 0, 100, 200))
        exif = Image.Exif()
        exif[0x0112] = 6
        upright = serialize(function, encode(image, image_format, exif=exif))
        assert upright.size == (112, 224)
        assert close_to(upright.getpixel((56, 10)), RED)
        assert close_to(upright.getpixel((56, 200)), BLUE)

    @pytest.mark.parametrize(("orientation", "corners"), ORIENTATIONS.items())
    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
    def test_a_camera_may_be_held_in_any_way(self, function, image_format, orientation, corners):
        image = Image.new("RGB", (64, 32))
        for colour, at in zip((RED, GREEN, BLUE, WHITE), ((0, 0), (32, 0), (0, 16), (32, 16)), strict=True):
            image.paste(colour, (*at, at[0] + 32, at[1] + 16))
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = serialize(function, encode(image, image_format, exif=exif))
        assert upright.size == ((64, 32) if orientation < 5 else (32, 64))
        assert close_to(upright.getpixel((6, 6)), corners[0])
        assert close_to(upright.getpixel((upright.width - 7, upright.height - 7)), corners[1])

    @pytest.mark.parametrize("options", [{}, {"progressive": True}])
    def test_a_phones_photo_of_twelve_megapixels_held_upright(self, function, options):
        image = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = 6
        result = serialize(function, encode(image, "JPEG", exif=exif, **options))
        assert result.size == (168, 224)
        # The gradient is black at the stored image's top, which is the photo's right side.
        assert close_to(result.getpixel((166, 112)), BLACK)
        assert close_to(result.getpixel((1, 112)), WHITE)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("notes", [b"Exif\0\0garbage", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"no"])
    def test_a_photo_whose_notes_are_broken_is_still_a_photo(self, function, image_format, notes):
        content = encode(Image.new("RGB", (40, 20), RED), image_format, exif=notes)
        assert close_to(serialize(function, content).getpixel((20, 10)), RED)

    @pytest.mark.filterwarnings("ignore:Truncated File Read")
    def test_notes_that_cannot_be_rewritten_still_tell_how_the_camera_was_held(self, function):
        # Orientation 6, and a tag whose value lies outside of the notes.
        entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x011A, 5, 1, 0xFFFF)
        notes = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
        content = encode(Image.new("RGB", (40, 20), RED), "JPEG", exif=notes)
        assert serialize(function, content).size == (20, 40)

    def test_what_looks_like_scans_in_the_pixels_of_another_format_is_none(self, function):
        sky = Image.new("RGB", (200, 200), (0, 0xDA, 0xFF))
        assert encode(sky, "BMP").count(b"\xff\xda") > 300
        assert serialize(function, encode(sky, "BMP")).getpixel((9, 9)) == (0, 0xDA, 0xFF)

    def test_a_phones_jpeg_with_a_second_picture_behind_the_photo(self, function):
        photo, preview = Image.new("RGB", (500, 400), RED), Image.new("RGB", (50, 40), BLUE)
        result = serialize(function, encode(photo, "MPO", save_all=True, append_images=[preview]))
        assert result.size == (224, 179)
        assert close_to(result.getpixel((100, 100)), RED)

    @pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
    def test_a_line_of_pixels_does_not_vanish(self, function, size):
        assert sorted(serialize(function, encode(Image.new("RGB", size))).size) == [1, 224]

    @pytest.mark.parametrize("side", ["224", "233", "236", "240"])
    @pytest.mark.parametrize("character", ["\x01", "ü", "a", "🚲"])
    def test_noise_under_the_longest_key_fits_into_step_functions(self, load_handler, side, character):
        """The longest names, the widest escapes, and pixels that no PNG makes smaller."""
        function = load_handler("serialize_image", IMAGE_SIDE=side)
        bucket, key = "b" * 63, character * (1024 // len(character.encode()))
        content = encode(noise((int(side), int(side))))
        with Stubber(function.s3) as stubber:
            body = StreamingBody(io.BytesIO(content), len(content))
            stubber.add_response("get_object", {"ContentLength": len(content), "Body": body})
            execution = f"arn:aws-us-gov:states:us-gov-west-1:123456789012:express:{'e' * 80}/{'m' * 80}:{'r' * 80}"
            event = {"s3_bucket": bucket, "s3_key": key, "execution": execution}
            record = function.handler(event, None)
        assert len(json.dumps(event)) < PAYLOAD_LIMIT
        assert len(record["image_data"]) > 215_000 or side == "224"
        # What ClassifyImage is given: the record and, again, the execution.
        assert len(json.dumps(record | {"execution": execution})) < PAYLOAD_LIMIT

    @pytest.mark.parametrize("size", [(240, 240), (5000, 5000)])
    def test_anything_but_noise_keeps_the_largest_side(self, load_handler, size):
        function = load_handler("serialize_image", IMAGE_SIDE="240")
        gradient = Image.linear_gradient("L").resize(size).convert("RGB")
        assert Image.open(io.BytesIO(function.to_png(encode(gradient)))).size == (240, 240)

    def test_noise_at_the_default_side(self, function):
        assert serialize(function, encode(noise((224, 224)))).size == (224, 224)

    def test_a_profile_and_a_location_stay_behind(self, function):
        exif = Image.Exif()
        exif[0x010F] = "camera"
        image = Image.new("RGB", (8, 8))
        assert serialize(function, encode(image, icc_profile=b"p" * 300_000, exif=exif, dpi=(72, 72))).info == {}

    @pytest.mark.parametrize("key", ["incoming/Fahrrad ü+ß.png", "incoming/自転車 %20.png", "incoming/🚲", "a/../b//c"])
    def test_any_key(self, function, key):
        assert serialize(function, encode(Image.new("RGB", (2, 2))), key).size == (2, 2)


class TestWhatIsNotThere:
    @pytest.mark.parametrize(
        "event",
        [
            {"s3_bucket": BUCKET, "s3_key": "incoming/none.png"},
            {"s3_bucket": "no-such-bucket", "s3_key": "a.png"},
            {"s3_bucket": "not a bucket's name", "s3_key": "a.png"},
            {"s3_bucket": BUCKET, "s3_key": ""},
            {"s3_bucket": BUCKET, "s3_key": 5},
            {"s3_bucket": BUCKET, "s3_key": "\ud800"},
            {"s3_bucket": None, "s3_key": "a.png"},
            {"s3_bucket": BUCKET},
            {},
        ],
    )
    def test_is_not_found(self, function, event):
        with pytest.raises(function.ImageNotFound):
            function.handler(event, None)

    @pytest.mark.parametrize(
        ("code", "status"), [("AccessDenied", 403), ("KMS.DisabledException", 400), ("InvalidObjectState", 403)]
    )
    def test_a_refusal_is_not_passed_off_as_not_found(self, function, code, status):
        with Stubber(function.s3) as stubber:
            stubber.add_client_error("get_object", code, http_status_code=status)
            with pytest.raises(ClientError, match=code):
                function.handler({"s3_bucket": BUCKET, "s3_key": "a"}, None)

    def test_a_key_that_is_too_long_is_not_found(self, function):
        with Stubber(function.s3) as stubber:
            stubber.add_client_error("get_object", "KeyTooLongError", http_status_code=400)
            with pytest.raises(function.ImageNotFound):
                function.handler({"s3_bucket": BUCKET, "s3_key": "a" * 1025}, None)


class TestWhenS3CannotAnswer:
    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("SlowDown", 503),
            ("InternalError", 500),
            ("ThrottlingException", 400),
            ("TooManyRequests", 429),
            ("RequestTimeout", 400),
        ],
    )
    def test_it_is_unavailable(self, function, code, status):
        with Stubber(function.s3) as stubber:
            stubber.add_client_error("get_object", code, http_status_code=status)
            with pytest.raises(function.StorageUnavailable, match=code):
                function.handler({"s3_bucket": BUCKET, "s3_key": "a"}, None)

    @pytest.mark.parametrize(
        "error",
        [
            ConnectTimeoutError(endpoint_url="https://s3"),
            ReadTimeoutError(endpoint_url="https://s3"),
            EndpointConnectionError(endpoint_url="https://s3"),
            ConnectionClosedError(endpoint_url="https://s3"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_broken_connection_is_unavailable(self, function, monkeypatch, error):
        monkeypatch.setattr(function, "s3", Mock(get_object=Mock(side_effect=error)))
        with pytest.raises(function.StorageUnavailable):
            function.handler({"s3_bucket": BUCKET, "s3_key": "a"}, None)

    @pytest.mark.parametrize("length", [100, 5_000_000])
    def test_an_object_that_breaks_off_is_unavailable(self, function, length):
        body = StreamingBody(io.BytesIO(b"half"), length)
        with Stubber(function.s3) as stubber:
            stubber.add_response("get_object", {"ContentLength": length, "Body": body})
            with pytest.raises(function.StorageUnavailable):
                function.handler({"s3_bucket": BUCKET, "s3_key": "a"}, None)

    def test_slow_down_is_tried_again_by_the_sdk(self, load_handler):
        """A true server, because the SDK retries beneath what a stub replaces."""
        requests = []

        class SlowDown(BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(503)
                self.end_headers()
                self.wfile.write(b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), SlowDown) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            function = load_handler("serialize_image", AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{server.server_port}")
            with pytest.raises(function.StorageUnavailable, match="SlowDown"):
                function.handler({"s3_bucket": BUCKET, "s3_key": "a"}, None)
            server.shutdown()
        assert len(requests) == 2


class TestWhatIsTooLarge:
    def test_too_many_bytes_are_refused_before_the_first_is_read(self, function):
        class Untouched(io.BytesIO):
            def read(self, *_):
                raise AssertionError("The body was read.")

        with Stubber(function.s3) as stubber:
            stubber.add_response("get_object", {"ContentLength": 10_485_761, "Body": Untouched()})
            with pytest.raises(function.ImageTooLarge, match="10,485,761"):
                function.handler({"s3_bucket": BUCKET, "s3_key": "a"}, None)

    def test_twenty_megabytes(self, function):
        with pytest.raises(function.ImageTooLarge, match="20,000,000 bytes"):
            serialize(function, bytes(20_000_000))

    # Pillow warns of the first and refuses the others by itself.
    @pytest.mark.parametrize("size", [(10_000, 6_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
    def test_too_many_pixels_are_refused_by_the_header(self, function, size):
        with pytest.raises(function.ImageTooLarge, match="25,000,000 pixels"):
            serialize(function, png_with_header(*size))

    @pytest.mark.parametrize("size", [(1, 65_536), (25_000_000, 1)])
    def test_a_side_that_is_too_long_is_refused_by_the_header(self, function, size):
        with pytest.raises(function.ImageTooLarge, match="no side may be over 65,535"):
            serialize(function, png_with_header(*size))

    def test_the_limits_can_be_set(self, load_handler, monkeypatch):
        # The function sets Pillow's own limit, which the other tests in this process share.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        with mock_aws():
            function = load_handler("serialize_image", MAX_IMAGE_BYTES="5000", MAX_IMAGE_PIXELS="100")
            function.s3.create_bucket(Bucket=BUCKET)
            assert serialize(function, encode(Image.new("RGB", (10, 10)))).size == (10, 10)
            with pytest.raises(function.ImageTooLarge, match="100 pixels"):
                serialize(function, encode(Image.new("RGB", (11, 10))))
            with pytest.raises(function.ImageTooLarge, match="5,001 bytes"):
                serialize(function, bytes(5001))

    def test_a_side_that_step_functions_cannot_carry_stops_the_function_at_once(self, load_handler):
        with pytest.raises(ValueError, match="IMAGE_SIDE"):
            load_handler("serialize_image", IMAGE_SIDE="241")


class TestWhatIsNoPhoto:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"This is a letter.",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM" + bytes(100),
            b"RIFF\x10\0\0\0WEBPVP8 ",
            b"\xff\xd8\xff\xe0" + bytes(200),
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(1000),
            png_with_header(100, 100),
        ],
        ids=lambda content: repr(content[:12]),
    )
    def test_is_unreadable(self, function, content):
        with pytest.raises(function.ImageUnreadable):
            serialize(function, content, "incoming/photo.png")

    @pytest.mark.parametrize("image_format", ["BMP", "GIF", "JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
    def test_an_upload_that_broke_off(self, function, image_format, part):
        content = encode(noise((300, 300)), image_format)
        with pytest.raises(function.ImageUnreadable):
            serialize(function, content[: int(len(content) * part)])

    def test_a_corrupt_png(self, function):
        content = bytearray(encode(noise((100, 100))))
        content[5000:5100] = bytes(100)
        with pytest.raises(function.ImageUnreadable):
            serialize(function, bytes(content))

    @pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
    def test_an_animation(self, function, image_format):
        frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN, BLUE)]
        content = encode(frames[0], image_format, save_all=True, append_images=frames[1:])
        with pytest.raises(function.ImageUnreadable, match="send a still photo"):
            serialize(function, content)

    @pytest.mark.parametrize("image_format", ["TIFF", "PDF", "ICO", "TGA", "EPS", "AVIF", "JPEG2000"])
    def test_a_format_that_is_not_on_the_list(self, function, image_format):
        with pytest.raises(function.ImageUnreadable):
            serialize(function, encode(Image.new("RGB", (20, 20)), image_format))

    def test_whatever_is_damaged_nothing_but_the_typed_errors_escape(self, function):
        """Bytes are flipped at places that change from run to run, in the header more often than elsewhere."""
        typed = (function.ImageUnreadable, function.ImageTooLarge)
        for image_format in ("BMP", "GIF", "JPEG", "PNG", "WEBP"):
            original = encode(noise((40, 30)), image_format)
            for _ in range(60):
                content = bytearray(original)
                for at in os.urandom(3):
                    content[at % len(content)] ^= 0xFF
                try:
                    function.to_png(bytes(content))
                except typed:
                    continue


def test_s3_is_not_waited_for_beyond_the_functions_timeout(function, configured):
    """S3's name has up to eight addresses, each of which is tried; a standard retry waits for a second at most."""
    config = function.s3.meta.config
    attempts, attempt_seconds = config.retries["total_max_attempts"], 8 * config.connect_timeout + config.read_timeout
    assert attempts * attempt_seconds + 1 < configured("serialize_image", "timeout_seconds")


class TestTheLog:
    def test_names_the_execution_and_the_image(self, function, example, printed):
        event, expected = example("serialize_image")
        serialize(function, base64.b64decode(expected["image_data"]), event["s3_key"])
        printed()
        function.handler(event, None)
        [line] = printed()
        assert line.items() >= event.items()
        assert line["level"] == "INFO"

    def test_names_them_as_well_when_it_fails(self, function, printed):
        event = {"s3_bucket": BUCKET, "s3_key": "incoming/none.png", "execution": "arn:e"}
        with pytest.raises(function.ImageNotFound):
            function.handler(event, None)
        [line] = printed()
        assert line.items() >= (event | {"level": "WARN", "error": "ImageNotFound"}).items()
        assert "does not exist" in line["message"]
        assert "_aws" not in line

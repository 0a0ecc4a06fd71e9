import io

import pytest
from PIL import Image

from toolkit.contact_sheet import contact_sheet


def png(colour: str, side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("pictures", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 4, 1), (5, 4, 2), (12, 4, 3)])
def test_pictures_stand_in_rows_of_four(pictures, columns, rows):
    sheet = Image.open(io.BytesIO(contact_sheet([(png("red"), ["a", "b"])] * pictures)))
    assert sheet.size == (12 + columns * 172, 12 + rows * 208)


def test_each_picture_is_enlarged_and_has_its_text_below():
    sheet = Image.open(io.BytesIO(contact_sheet([(png("red", 1), ["bicycle"]), (png("blue"), [""])])))
    assert sheet.getpixel((12, 12)) == sheet.getpixel((171, 171)) == (255, 0, 0)
    assert sheet.getpixel((184, 12)) == (0, 0, 255)
    below = sheet.crop((12, 172, 172, 190)).convert("L")
    assert below.getextrema()[0] < 128
    assert sheet.crop((184, 172, 344, 190)).convert("L").getextrema() == (255, 255)


def test_a_long_text_does_not_reach_into_the_next_picture():
    sheet = Image.open(io.BytesIO(contact_sheet([(png("red"), ["w" * 200]), (png("red"), [])])))
    assert sheet.crop((173, 172, 344, 190)).convert("L").getextrema() == (255, 255)

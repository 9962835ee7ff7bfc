"""Text in pictures."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

FONT_FILE = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""It comes with matplotlib, and has Latin, Greek, Cyrillic, Arabic, Hebrew and more."""
FONT = ImageFont.truetype(FONT_FILE, size=13)
LINE_HEIGHT = 18


def legible(text: str) -> str:
    """`text` with what the font has no letter for written as a number, so that two names do not look alike."""
    return "".join(letter if _has_glyph(letter) else letter.encode("ascii", "backslashreplace").decode() for letter in text)


def shorten(text: str, width: int) -> str:
    """`text` on one line of `width` pixels, its middle left out where it is longer: both ends of a file's name tell."""
    short, num_kept = text, len(text)
    while FONT.getlength(short) > width:
        num_kept -= 1
        short = f"{text[: num_kept // 2]}…{text[len(text) - (num_kept - num_kept // 2) :]}"
    return short


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, as far as its words allow."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if FONT.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def write_lines(canvas: ImageDraw.ImageDraw, origin: tuple[int, int], lines: Sequence[str]) -> None:
    """Lines below one another, from their left upper corner on."""
    for number, line in enumerate(lines):
        canvas.text((origin[0], origin[1] + number * LINE_HEIGHT), line, fill="black", font=FONT)


@cache
def _has_glyph(letter: str) -> bool:
    return letter.isspace() or _letters().get_char_index(ord(letter)) != 0


@cache
def _letters() -> FT2Font:
    return FT2Font(str(FONT_FILE))

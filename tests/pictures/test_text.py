"""Text in pictures: letters and lengths."""

from PIL import Image, ImageDraw

from mae_core.pictures.text import FONT, legible, shorten, wrap, write_lines


def test_long_names_keep_both_ends():
    text = "n01440764/" * 9 + "tench.JPEG"
    short = shorten(text, 120)
    assert FONT.getlength(short) <= 120
    assert short.startswith("n0")
    assert short.endswith("JPEG")
    assert shorten("short", 120) == "short"


def test_headings_wrap_at_words():
    lines = wrap("output with the visible patches pasted in", 120)
    assert " ".join(lines) == "output with the visible patches pasted in"
    assert len(lines) > 1
    assert all(FONT.getlength(line) <= 120 for line in lines)


def looks(text):
    image = Image.new("RGB", (80, 24), "white")
    write_lines(ImageDraw.Draw(image), (0, 0), [text])
    return image.tobytes()


def test_letters_of_other_alphabets_are_legible_and_what_no_glyph_exists_for_is_a_number():
    letters = "äñøßŁжΩאع"
    assert legible(letters) == letters
    assert len({looks(letter) for letter in letters}) == len(letters)  # no boxes
    assert legible("a猫 1") == "a\\u732b 1"

"""Draws the pictures of maskers.md: `make mask-pictures`."""

import contextlib
import io
import re
import tempfile
from pathlib import Path

from PIL import Image

from mae_core.cli import main

PAGE = Path(__file__).with_name("maskers.md")
FOLDER = PAGE.parent / "images" / "masks"
PICTURE = re.compile(r"\(images/masks/(\w+)\.png\)")


def files() -> dict[str, str]:
    """The YAML files of the page that have a picture, by their names without ".yaml"."""
    text = PAGE.read_text(encoding="utf-8")
    found = dict(re.findall(r'^```yaml title="(\w+)\.yaml"\n(.*?)^```$', text, re.M | re.S))
    return {name: found[name] for name in PICTURE.findall(text)}


def draw(name: str, text: str, folder: Path) -> Path:
    """What `mae masks show NAME.yaml` draws."""
    path = folder / f"{name}.png"
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        file = Path(place, f"{name}.yaml")
        file.write_text(text, encoding="utf-8")
        try:
            main(["masks", "show", str(file), "-o", str(path)])
        except SystemExit as stop:
            if stop.code:
                raise
    with Image.open(path) as picture:  # with a palette it has a third of the bytes
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return path


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for each, section in files().items():
        drawn = draw(each, section, FOLDER)
        print(f"{drawn.relative_to(PAGE.parent)}: {drawn.stat().st_size / 1000:.0f} kB")

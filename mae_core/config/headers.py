"""What a recipe's file says of itself: the comment that it begins with."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Header:
    """Empty where the comment does not say it."""

    about: str = ""
    """The first sentence of the comment."""
    command: str = ""
    """How to train from the recipe."""
    cost: str = ""
    result: str = ""


def read_header(path: Path) -> Header:
    """The comment at the beginning of a recipe: a paragraph on what it is, and its lines `# command: ...` and so on.

    A line goes on in the next one where that is indented by three spaces or more.
    """
    comment = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8", errors="replace"))
    if comment is None:
        return Header()
    text = re.sub(r"^# ?", "", comment[0], flags=re.M)
    paragraph = " ".join(re.split(r"\n\s*\n|^(?:command|cost|result):", text, maxsplit=1, flags=re.M)[0].split())
    about = re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]
    return Header(about, _line(text, "command"), _line(text, "cost"), _line(text, "result"))


def _line(text: str, key: str) -> str:
    found = re.search(rf"^{key}:\s+(.+(?:\n\s{{3,}}.+)*)", text, re.M)
    return " ".join(found[1].split()) if found else ""

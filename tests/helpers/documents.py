"""The examples in README.md and docs/, as steps that can be run one after the other.

Every block of code says its language. A block is run by tests/test_docs.py, in the order of its page and in one folder for the
page, unless a comment on the line before it says what this machine lacks:

    <!-- needs: ImageNet -->       not run; but its commands and options must exist
    <!-- wrong on purpose -->      a recipe that must be refused
    <!-- from: plugin/file.py -->  lines of a file of docs/examples/, or of the repository, one after the other; not run
    <!-- in: plugin -->            commands that are run in that folder of docs/examples/, by tests/test_examples.py

A block's file name is its `title="..."`, its first comment (`# small.yaml`, `# small.yaml: why`), or a name in backticks with a
colon at the end of the line above it. Lines after a `$ command` must be in its output; "..." stands for anything.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"console", "bash", "python", "yaml", "toml", "json", "text"}

_FENCE = re.compile(
    r"(?P<above>[^\n]*)\n(?P<blank>\n?)(?P<indent> *)```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A block of code. `above` is the line before it, blank lines left out."""

    page: Path
    line: int
    info: str
    text: str
    above: str

    @property
    def language(self) -> str:
        return self.info.split(" ")[0]

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def needs(self) -> str | None:
        return self._mark("needs")

    @property
    def source(self) -> Path | None:
        path = self._mark("from")
        if path is None:
            return None
        return EXAMPLES / path if (EXAMPLES / path).exists() else ROOT / path

    @property
    def example(self) -> str | None:
        return self._mark("in")

    @property
    def is_run_with_its_page(self) -> bool:
        return not (self.needs or self.source or self.example)

    def _mark(self, key: str) -> str | None:
        found = re.fullmatch(rf"\s*<!-- {key}: (.+) -->", self.above)
        return found[1] if found else None

    @property
    def is_wrong_on_purpose(self) -> bool:
        return self.above.strip() == "<!-- wrong on purpose -->"

    @property
    def file(self) -> str | None:
        patterns = [
            (r'title="([^"]+)"', self.info),
            (r"\A# ([\w./-]+\.\w+)(?:$|:)", self.text),
            (r"`([\w./-]+\.\w+)`:$", self.above),
        ]
        return next((found[1] for pattern, text in patterns if (found := re.search(pattern, text, re.M))), None)

    def commands(self) -> Iterator[tuple[str, str]]:
        """(command, the output that is shown), of a console."""
        for entry in re.split(r"^\$ ", self.text, flags=re.M)[1:]:
            command, _, output = re.sub(r"\\\n\s*", "", entry).partition("\n")
            yield re.split(r"\s+# ", command)[0].strip(), output.strip()


def blocks(page: Path) -> list[Block]:
    text = "\n" + page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        code = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
        found.append(Block(page, text.count("\n", 0, match.start("info")), match["info"].strip(), code, match["above"]))
    return found


def mae_commands(page: Path) -> Iterator[tuple[Block, list[str]]]:
    """(block, words) of every use of `mae`, also in blocks that are not run."""
    for block in blocks(page):
        lines = [command for command, _ in block.commands()] if block.language == "console" else block.text.splitlines()
        for line in lines if block.language in ("console", "bash") else ():
            if line.startswith("mae "):
                yield block, shlex.split(line)


def shows(output: str, shown: str) -> bool:
    """Whether an output has what is shown of it, where "..." stands for anything, and any space for any other."""
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in shown.split("..."))
    return re.search(pattern, " ".join(output.split())) is not None

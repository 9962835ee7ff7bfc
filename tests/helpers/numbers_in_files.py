"""A modality of the tests: files that hold one number."""

from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from mae_core.data.files import read_content
from mae_core.data.folders import FileFolder
from mae_core.interfaces import BadSample, Modality, Sample

NUMBERS = Modality(name="numbers", defaults={}, read="", picture="", file_suffixes=(".num", ".txt"))


class NumberFolder(FileFolder):
    """Files that hold one number."""

    def __init__(self, root: str | None, **options: Any) -> None:
        super().__init__(root, modality=NUMBERS, what="numbers", **options)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """The number."""
        return self.read(index)

    def read(self, index: int) -> Tensor | Sample:
        """The number. Raises BadSample."""
        text = read_content(self.file(index)).decode()
        try:
            return self.labelled(torch.tensor(float(text)), index)
        except ValueError as error:
            raise BadSample(f"{self.describe(index)}: {error}") from error


def save(path: Path, number: float = 0) -> None:
    """A file that holds this number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(number), encoding="utf-8")

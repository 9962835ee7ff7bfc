"""A folder of CSV files to train on."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.data.folders import FileFolder
from mae_core.interfaces import BadSample, Preview
from mae_core.interfaces.numbers import Positive
from mae_registry import ConfigError
from mae_timeseries.modality import MODALITY
from mae_timeseries.reading import Series, read_columns, read_series


class TimeseriesCsv(FileFolder):
    """Random windows of the CSV files of a folder and of the folders in it; all of them have the columns of the first one.

    Args:
        root: the folder.
        windows: taken from a file each time it is read. The batch size counts files.
        held_out: how many files, the last ones by name, are never trained on: pictures show these.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        windows: Positive = 1,
        held_out: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(root, modality=MODALITY, what="CSV files")
        self._num_channels, self._length = sample_shape
        self.num_views = windows
        self._num_files = super().__len__()
        self._num_train = max(self._num_files - held_out, 0)
        if not self._num_train:
            raise ConfigError(
                f"data.timeseries.root: {root} holds {self._num_files} CSV files, {held_out} are held out: none to train on"
            )
        try:
            self._columns = read_columns(Path(self.describe(0)), self._num_channels)
        except BadSample as error:
            raise ConfigError(f"data.timeseries.root: the first file says which columns there are, but: {error}") from error

    def __len__(self) -> int:
        return self._num_train

    def load(self, index: int, *, random: Random) -> Tensor:
        """Random windows of one file, (channels, length) or (windows, channels, length). Raises BadSample."""
        series = self._series(index)
        starts = random.choices(series.starts(self._length), k=self.num_views)
        windows = torch.stack([series.window(start, self._length) for start in starts])
        return windows if self.num_views > 1 else windows[0]

    def read(self, index: int) -> Tensor:
        """The first window of one file. Raises BadSample."""
        series = self._series(index)
        return series.window(series.starts(self._length)[0], self._length)

    def previews(self, count: int) -> Sequence[Preview]:
        """The first windows of files, held-out ones first; files that cannot be read are left out."""
        previews: list[Preview] = []
        for index in (*range(self._num_train, self._num_files), *range(self._num_train)):
            if len(previews) == count:
                break
            try:
                note = "training" if index < self._num_train else "held out"
                previews.append(Preview(self.name(index), self.read(index), note))
            except BadSample:
                continue
        return previews

    def _series(self, index: int) -> Series:
        path, first = Path(self.describe(index)), self.describe(0)
        series = read_series(path, self._num_channels)
        if series.columns != self._columns:
            raise BadSample(f"{path}:1: the columns are {series.columns}; those of {first} are {self._columns}")
        return series

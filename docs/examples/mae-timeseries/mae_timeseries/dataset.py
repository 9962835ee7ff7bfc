"""A folder of CSV files to train on."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import BadSample, Dataset, Preview
from mae_registry import ConfigError
from mae_timeseries.reading import Series, read_columns, read_series


class TimeseriesCsv(Dataset):
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
        windows: Annotated[int, Field(ge=1)] = 1,
        held_out: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        if not root:
            raise ConfigError("timeseries_csv does not know where the data are: give data.timeseries.root=DIR")
        self._num_channels, self._length = sample_shape
        self.num_views = windows
        paths = sorted(path for path in Path(root).expanduser().absolute().rglob("*") if path.suffix.lower() == ".csv")
        num_train = max(len(paths) - held_out, 0)
        self._paths, self._held_out = paths[:num_train], paths[num_train:]
        if not self._paths:
            raise ConfigError(
                f"data.timeseries.root: {root} holds {len(paths)} CSV files, {held_out} are held out: none to train on"
            )
        try:
            self._columns = read_columns(self._paths[0], self._num_channels)
        except BadSample as error:
            raise ConfigError(f"data.timeseries.root: the first file says which columns there are, but: {error}") from error

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int, *, random: Random) -> Tensor:
        """Random windows of one file, (channels, length) or (windows, channels, length). Raises BadSample."""
        series = self._read(self._paths[index])
        starts = random.choices(series.starts(self._length), k=self.num_views)
        windows = torch.stack([series.window(start, self._length) for start in starts])
        return windows if self.num_views > 1 else windows[0]

    def read(self, index: int) -> Tensor:
        """The first window of one file. Raises BadSample."""
        return self._first_window(self._paths[index])

    def describe(self, index: int) -> str:
        """The path."""
        return str(self._paths[index])

    def previews(self, count: int) -> Sequence[Preview]:
        """The first windows of files, held-out ones first; files that cannot be read are left out."""
        notes = dict.fromkeys(self._held_out, "held out") | dict.fromkeys(self._paths, "training")
        previews: list[Preview] = []
        for path, note in notes.items():
            if len(previews) == count:
                break
            try:
                previews.append(Preview(path.name, self._first_window(path), note))
            except BadSample:
                continue
        return previews

    def _read(self, path: Path) -> Series:
        series = read_series(path, self._num_channels)
        if series.columns != self._columns:
            raise BadSample(f"{path}:1: the columns are {series.columns}; those of {self._paths[0]} are {self._columns}")
        return series

    def _first_window(self, path: Path) -> Tensor:
        series = self._read(path)
        return series.window(series.starts(self._length)[0], self._length)

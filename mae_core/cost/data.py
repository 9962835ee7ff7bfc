"""The data of a recipe, or what stands in for it where it is not here."""

from collections.abc import Sequence
from random import Random

import torch

from mae_core.build import sample_shape
from mae_core.config import Config
from mae_core.interfaces import LABEL, Dataset, Preview, Sample
from mae_core.registry import registry
from mae_core.training.sources import Source
from mae_registry import MaeError, did_you_mean


class Absent(Dataset):
    """Samples of which only the shape is known; where they have to have labels, all are of the first class."""

    def __init__(self, shape: Sequence[int], num_views: int) -> None:
        self.views = (num_views,) if num_views > 1 else ()
        self.shape = (*self.views, *shape)
        self.num_views = num_views

    def __len__(self) -> int:
        return 0

    def load(self, index: int, *, random: Random) -> Sample:
        """Zeros, which take no memory."""
        return Sample(torch.zeros(()).expand(self.shape), {LABEL: torch.zeros(self.views, dtype=torch.int64)})

    def describe(self, index: int) -> str:
        """Nothing."""
        return ""

    def previews(self, count: int) -> Sequence[Preview]:
        """None."""
        return []


def absent_sources(config: Config) -> dict[str, Source]:
    """Sources as the recipe has them, without any sample."""
    datasets: dict[str, Dataset] = {
        entry: Absent(sample_shape(config, entry), _num_views(config, entry)) for entry in config["model"]["modalities"]
    }
    if "masker" in config["model"]:  # paired samples
        return {"+".join(datasets): Source(datasets)}
    return {entry: Source({entry: dataset}) for entry, dataset in datasets.items()}


def parse_sizes(given: Sequence[str], sources: Sequence[str]) -> dict[str, int]:
    """ "1281167", or "image=1281167" for each of several sources -> samples of an epoch. Raises MaeError."""
    sizes: dict[str, int] = {}
    for text in given:
        source, equals, number = text.rpartition("=")
        if not (number.isascii() and number.isdecimal()) or int(number) == 0:
            raise MaeError(
                f"--samples: {text!r} is no number of samples; write 1281167, or NAME=1281167 for one of several data"
            )
        if equals and source not in sources:
            raise MaeError(f"--samples: {source!r} is none of the data that a step takes.{did_you_mean(source, sources)}")
        sizes |= {source: int(number)} if equals else dict.fromkeys(sources, int(number))
    if given and (missing := [source for source in sources if source not in sizes]):
        raise MaeError(f"--samples does not say how many samples there are of {', '.join(missing)}")
    return sizes


def _num_views(config: Config, entry: str) -> int:
    """Of one load, as the recipe says, or else the class of the dataset."""
    section = config["data"].get(entry) if "data" in config else None
    if section is None:
        return 1
    return section.get("num_views") or getattr(registry().get("datasets", section["name"]).load(), "num_views", 1)

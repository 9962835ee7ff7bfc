"""What a person calls their data -> the sections of recipes that read them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_core.data.find_store import is_parquet, is_shards
from mae_core.data.folders import FOLDERS
from mae_core.data.listing import list_files
from mae_core.data.parquet_store import parquet_splits
from mae_core.data.shard_store import ShardStore, is_address
from mae_core.data.splits import HELD_OUT, TRAIN, hold_out
from mae_core.data.tables import folder_labels, read_table, write_table
from mae_core.interfaces import Labels, Modality
from mae_core.runs.folder import SPLIT
from mae_registry import MaeError

TRAIN_NAMES = ("train", "training")
HELD_OUT_NAMES = ("val", "validation", "valid", "test")
"""What folders and splits of held-out data may be called; where there are several, the first one of these is taken."""
SHARE = 0.2
"""Part of each class that is held out where the data come in one piece."""
DATA = "DATA"
"""What the command line calls data, for messages."""
ALLOWED = (
    "DATA may be a folder that holds train/ and val/ with one folder for each class in both, a folder with one folder for each "
    "class, shards with labels or a folder of Parquet files, or a CSV file with the columns path,label or path,label,split"
)


@dataclass(frozen=True)
class FoundData:
    """Labelled data, as recipes name them."""

    train: Mapping[str, Any]
    """The section of the dataset that is trained on."""
    validation: Mapping[str, Any]
    """The keys of that section that differ for the held-out data."""
    description: str
    """What was found, in a sentence for people."""


def find_data(path: str, *, modality: Modality, folder: Path, seed: int = 0) -> FoundData:
    """Recognise labelled data, and split them where they come in one piece. Raises MaeError where there is nothing of the kind.

    Args:
        path: a folder with train/ and val/ (or test/, validation/), each with one folder for each class; one folder for each
            class; shards with labels, or two folders of them; a folder of Parquet files; a CSV file of
            `mae_core.data.tables`; or a data set that the modality knows.
        folder: a split that is made is recorded there as `split.csv`, and read from there.
        seed: of that split.
    """
    place = path if is_address(path) else os.path.abspath(os.path.expanduser(path))
    known = _known(place, modality)
    if known is not None:
        return known
    if modality.labelled_folder is None:
        raise MaeError(f"the modality {modality.name!r} has no dataset of labelled files (Modality.labelled_folder)")
    if is_shards(place):
        return _in_shards(place, modality.labelled_folder, folder, seed)
    if is_parquet(place, modality.file_suffixes):
        return _in_parquet(place, modality.labelled_folder)
    if os.path.isdir(place):
        return _in_folder(place, modality, folder, seed)
    if os.path.isfile(place) and place.lower().endswith(".csv"):
        return _in_table(place, modality.labelled_folder, folder, seed)
    problem = "is not a CSV file" if os.path.exists(place) else "does not exist"
    raise MaeError(f"{place} {problem}; {_allowed(modality)}")


def with_split_of(recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A run's resolved recipe, with the split that is recorded in `folder`, to which the run may have been moved since."""
    split = Path(os.path.abspath(folder)) / SPLIT
    if split.is_file():
        for section in recipe.get("data", {}).values():
            if Path(section.get("labels") or "").name == SPLIT:
                section["labels"] = str(split)
    return recipe


def _allowed(modality: Modality) -> str:
    titles = [known.title for known in modality.known_data]
    return f"{ALLOWED}, or the folder of {' or '.join(titles)}" if titles else ALLOWED


def _known(place: str, modality: Modality) -> FoundData | None:
    for known in modality.known_data:
        root = os.path.dirname(place) if os.path.basename(place) == known.marker else place
        if os.path.exists(os.path.join(root, known.marker)):
            return FoundData({**known.train, "root": root}, known.held_out, f"{known.title} in {root}, with its own split")
    return None


def _in_folder(place: str, modality: Modality, folder: Path, seed: int) -> FoundData:
    assert modality.labelled_folder is not None
    inside = {entry.name.lower(): entry.name for entry in os.scandir(place) if entry.is_dir() and entry.name[0] != "."}
    trains, held_outs = _named(TRAIN_NAMES, inside), _named(HELD_OUT_NAMES, inside)
    if trains and held_outs:
        root, other = (os.path.join(place, inside[names[0]]) for names in (trains, held_outs))
        unused = [f"{inside[name]}/" for name in [*trains[1:], *held_outs[1:]]]
        section = {"name": modality.labelled_folder, "root": root, "labels": None if is_shards(root) else FOLDERS}
        return FoundData(section, {"root": other}, f"training data in {root}, held-out data in {other}{_left_out(unused)}")
    if held_outs and len(inside) == len(held_outs):
        raise MaeError(f"{place} holds {inside[held_outs[0]]}/, but no train/ to train on; {_allowed(modality)}")
    root = os.path.join(place, inside[trains[0]]) if trains and len(inside) == 1 else place
    names = list_files(root, suffixes=modality.file_suffixes, key=DATA, what="files of this kind")
    labels = folder_labels(names, root=root)
    section = {"name": modality.labelled_folder, "root": root}
    return _split(section, [os.fsdecode(name) for name in names], labels, folder, seed, place=root)


def _in_shards(place: str, dataset: str, folder: Path, seed: int) -> FoundData:
    store = ShardStore(place, key=DATA)
    if store.labels is None:
        raise MaeError(f"the shards in {place} have no labels; make them again with `mae shards make --labels`")
    names = [os.fsdecode(name) for name in store.names]
    return _split({"name": dataset, "root": place}, names, store.labels, folder, seed, place=place)


def _in_parquet(place: str, dataset: str) -> FoundData:
    splits = {split.lower(): split for split in parquet_splits(place)}
    trains, held_outs = _named(TRAIN_NAMES, splits), _named(HELD_OUT_NAMES, splits)
    if not trains or not held_outs:
        found = ", ".join(sorted(splits.values()))
        raise MaeError(f"the Parquet files in {place} are of {found}; there must be train, and val, validation or test")
    train, held_out = splits[trains[0]], splits[held_outs[0]]
    unused = [split for split in splits.values() if split not in (train, held_out)]
    description = f"Parquet files in {place}, trained on their split {train}, with {held_out} held out{_left_out(unused)}"
    return FoundData({"name": dataset, "root": place, "split": train}, {"split": held_out}, description)


def _in_table(place: str, dataset: str, folder: Path, seed: int) -> FoundData:
    table = read_table(place, key=DATA)
    section = {"name": dataset, "root": table.folder}
    if table.splits is None:
        table.require_once()
        return _split(section, table.paths, table.labels(range(len(table.paths))), folder, seed, place=place)
    splits = {split.lower(): split for split in table.splits}
    trains, held_outs = _named(TRAIN_NAMES, splits), _named(HELD_OUT_NAMES, splits)
    if not trains or not held_outs:
        found = ", ".join(sorted(splits.values()))
        raise MaeError(f"the splits of {place} are {found}; one must be called train, and another one val, validation or test")
    train, held_out = splits[trains[0]], splits[held_outs[0]]
    unused = [split for split in splits.values() if split not in (train, held_out)]
    description = f"{place}, trained on its split {train}, with its split {held_out} held out{_left_out(unused)}"
    return FoundData({**section, "labels": place, "split": train}, {"split": held_out}, description)


def _split(
    section: Mapping[str, Any], paths: Sequence[str], labels: Labels, folder: Path, seed: int, *, place: str
) -> FoundData:
    """Make a split of the files that were found in `place`, and record it."""
    held_out = hold_out(labels, share=SHARE, seed=seed).tolist()
    splits = [HELD_OUT if held else TRAIN for held in held_out]
    file = Path(os.path.abspath(folder)) / SPLIT
    write_table(file, zip(paths, _texts(labels), splits, strict=True))
    num_held_out = sum(held_out)
    description = (
        f"{len(paths) - num_held_out:,} files of {place} to train on, and {num_held_out:,} held out: "
        f"{SHARE:.0%} of each class, drawn with seed {seed} and recorded in {file}"
    )
    return FoundData({**section, "labels": str(file), "split": TRAIN}, {"split": HELD_OUT}, description)


def _texts(labels: Labels) -> Iterator[str]:
    """The labels of each sample as a CSV file has them."""
    if not labels.several:
        return (labels.names[number] for number in labels.targets.tolist())
    return (";".join(labels.names[number] for number in row.nonzero()[:, 0].tolist()) for row in labels.targets)


def _named(names: Sequence[str], found: Mapping[str, str]) -> list[str]:
    return [name for name in names if name in found]


def _left_out(unused: Sequence[str]) -> str:
    return f" ({', '.join(unused)} not used)" if unused else ""

"""What people call their data: recognised, split where they come in one piece, and read by the sections that are given back."""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import torch
from in_shards import in_shards
from pyarrow import parquet
from torch import Tensor

from mae_core.data.checks import check_data
from mae_core.data.folders import FileFolder
from mae_core.evaluation.data import FoundData, find_data
from mae_core.interfaces import KnownData, Modality, Sample
from mae_registry import MaeError

KNOWN = KnownData("Ten Numbers", "ten-numbers", {"name": "ten", "split": "train"}, {"split": "test"})
NUMBERS = Modality(
    name="numbers",
    defaults={},
    read="",
    picture="",
    file_suffixes=(".num",),
    labelled_folder="number_folder",
    known_data=(KNOWN,),
)


class NumberFolder(FileFolder):
    """Files whose content does not matter."""

    def __init__(self, **options: str | None) -> None:
        super().__init__(options.pop("root", None), modality=NUMBERS, what="numbers", **options)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """Nothing."""
        return self.read(index)

    def read(self, index: int) -> Tensor | Sample:
        """Nothing."""
        return self.labelled(torch.zeros(1), index)


def make_files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")


def opened(section: Mapping[str, Any]) -> NumberFolder:
    """The dataset of a section, as a training would build it."""
    assert section["name"] == "number_folder"
    return NumberFolder(**{key: value for key, value in section.items() if key != "name"})


def files(folder: NumberFolder) -> dict[str, str]:
    """The class of each file, by its path."""
    assert folder.labels is not None
    names = [folder.labels.names[label] for label in folder.labels.targets.tolist()]
    return {folder.describe(index): name for index, name in enumerate(names)}


def both(found: FoundData) -> tuple[dict[str, str], dict[str, str]]:
    return files(opened(found.train)), files(opened({**found.train, **found.validation}))


@pytest.mark.parametrize("held_out", ["val", "validation", "test", "Val"])
def test_folders_for_training_and_for_held_out_data(held_out: str, tmp_path: Path) -> None:
    make_files(tmp_path, "train/a/1.num", "train/b/2.num", f"{held_out}/a/3.num", f"{held_out}/b/4.num", "notes/x.txt")
    train, other = both(find_data(str(tmp_path), modality=NUMBERS, folder=tmp_path / "run"))
    assert train == {f"{tmp_path}/train/a/1.num": "a", f"{tmp_path}/train/b/2.num": "b"}
    assert other == {f"{tmp_path}/{held_out}/a/3.num": "a", f"{tmp_path}/{held_out}/b/4.num": "b"}
    assert not (tmp_path / "run").exists()


def test_of_val_and_test_val_is_taken_and_the_other_is_said_to_be_unused(tmp_path: Path) -> None:
    make_files(tmp_path, "train/a/1.num", "val/a/2.num", "test/a/3.num")
    found = find_data(str(tmp_path), modality=NUMBERS, folder=tmp_path)
    assert found.validation == {"root": f"{tmp_path}/val"}
    assert "test/ not used" in found.description


@pytest.mark.parametrize("root", ["", "train/"])
def test_folders_of_classes_alone_are_split(root: str, tmp_path: Path) -> None:
    names = [f"{name}/{number}.num" for name in "ab" for number in range(10)]
    make_files(tmp_path / "data", *(f"{root}{name}" for name in names), f"{root}c/0.num", f"{root}c/1.num")
    found = find_data(str(tmp_path / "data"), modality=NUMBERS, folder=tmp_path / "run", seed=1)
    train, held_out = both(found)
    assert not set(train) & set(held_out)
    assert len({**train, **held_out}) == 22
    assert all(Path(file).parent.name == name for file, name in {**train, **held_out}.items())
    assert sorted(held_out.values()) == ["a", "a", "b", "b", "c"]
    assert found.train["labels"] == str(tmp_path / "run" / "split.csv")
    again = find_data(str(tmp_path / "data"), modality=NUMBERS, folder=tmp_path / "again", seed=1)
    assert both(again) == (train, held_out)
    other = find_data(str(tmp_path / "data"), modality=NUMBERS, folder=tmp_path / "other", seed=2)
    assert both(other) != (train, held_out)


def test_a_table_with_splits_is_used_as_it_is(tmp_path: Path) -> None:
    rows = "1.num,a,Train\n2.num,b,Train\n3.num,b,test\n4.num,a,extra\n"
    (tmp_path / "list.csv").write_text(f"path,label,split\n{rows}", encoding="utf-8")
    found = find_data(str(tmp_path / "list.csv"), modality=NUMBERS, folder=tmp_path / "run")
    assert both(found) == ({f"{tmp_path}/1.num": "a", f"{tmp_path}/2.num": "b"}, {f"{tmp_path}/3.num": "b"})
    assert "extra not used" in found.description
    assert not (tmp_path / "run").exists()


def test_a_table_without_splits_is_split_and_may_have_several_labels(tmp_path: Path) -> None:
    rows = "".join(f"{number}.num,{'a;b' if number < 5 else 'a'}\n" for number in range(15))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    found = find_data(str(tmp_path / "list.csv"), modality=NUMBERS, folder=tmp_path / "run")
    train, held_out = opened(found.train), opened({**found.train, **found.validation})
    assert train.labels is not None
    assert held_out.labels is not None
    assert (len(train), len(held_out)) == (12, 3)
    assert train.labels.names == held_out.labels.names == ("a", "b")
    for folder in (train, held_out):
        assert folder.labels is not None
        expected = [[1, int(int(Path(folder.name(index)).stem) < 5)] for index in range(len(folder))]
        assert folder.labels.targets.tolist() == expected
        assert folder.describe(0).startswith(f"{tmp_path}/")


@pytest.mark.parametrize("inside", ["", "ten-numbers"])
def test_data_that_the_modality_knows(inside: str, tmp_path: Path) -> None:
    (tmp_path / "ten-numbers").mkdir()
    found = find_data(str(tmp_path / inside), modality=NUMBERS, folder=tmp_path / "run")
    assert found.train == {"name": "ten", "split": "train", "root": str(tmp_path)}
    assert found.validation == {"split": "test"}


@pytest.mark.parametrize(
    ("made", "given", "problem"),
    [
        ([], "none", r"/none does not exist; DATA may be .*Ten Numbers"),
        (["a.txt"], "a.txt", r"/a\.txt is not a CSV file; DATA may be "),
        (["data/val/a/1.num"], "data", r"holds val/, but no train/"),
        (["data/readme"], "data", r"DATA: .*/data contains no files of this kind"),
        (["data/1.num", "data/a/2.num"], "data", r"/data/1\.num is not in the folder of a class"),
        (["data/a/1.num", "data/a/2.num", "data/b/3.num"], "data", r"1 of 2 classes have one sample only \(b\)"),
    ],
)
def test_what_is_no_labelled_data(made: list[str], given: str, problem: str, tmp_path: Path) -> None:
    make_files(tmp_path, *made)
    with pytest.raises(MaeError, match=problem):
        find_data(str(tmp_path / given), modality=NUMBERS, folder=tmp_path / "run")


def test_a_table_that_is_split_must_list_every_file_once(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("path,label\na/1.num,a\nb/1.num,b\na/./1.num,a\n")
    with pytest.raises(MaeError, match=r"data\.csv lists a/\./1\.num twice, in the lines 2 and 4"):
        find_data(str(tmp_path / "data.csv"), modality=NUMBERS, folder=tmp_path)


def test_splits_that_do_not_say_what_they_are_for(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,split\n1.num,a,one\n2.num,a,two\n", encoding="utf-8")
    with pytest.raises(MaeError, match=r"the splits of .*/list\.csv are one, two; one must be called train"):
        find_data(str(tmp_path / "list.csv"), modality=NUMBERS, folder=tmp_path)


def test_shards_with_labels_are_split_or_come_split(tmp_path: Path) -> None:
    make_files(tmp_path / "files" / "train", *(f"{name}/{number}.num" for name in "ab" for number in range(5)))
    make_files(tmp_path / "files" / "val", "a/x.num", "b/x.num")
    for part in ("train", "val"):
        in_shards(tmp_path / "files" / part, tmp_path / "shards" / part, NUMBERS, labels="folders")
    found = find_data(str(tmp_path / "shards"), modality=NUMBERS, folder=tmp_path / "run")
    train, held_out = (opened({**found.train, **changes}) for changes in ({}, found.validation))
    assert (len(train), list(files(held_out).values())) == (10, ["a", "b"])
    assert check_data(train, held_out) == []
    found = find_data(str(tmp_path / "shards" / "train"), modality=NUMBERS, folder=tmp_path / "run")
    train, held_out = (opened({**found.train, **changes}) for changes in ({}, found.validation))
    assert (len(train), sorted(files(held_out).values())) == (8, ["a", "b"])
    assert all(name.startswith(f"{tmp_path}/shards/train/000000.tar:{label}/") for name, label in files(held_out).items())
    in_shards(tmp_path / "files" / "val", tmp_path / "plain", NUMBERS)
    with pytest.raises(MaeError, match="have no labels; make them again with `mae shards make --labels`"):
        find_data(str(tmp_path / "plain"), modality=NUMBERS, folder=tmp_path / "run")


def test_parquet_files_come_with_their_splits(tmp_path: Path) -> None:
    features = {"label": {"names": ["b", "a"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split, number in (("train", 4), ("test", 2)):
        table = pa.table({"file": [b"1"] * number, "label": [index % 2 for index in range(number)]})
        parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{split}-00000-of-00001.parquet")
    found = find_data(str(tmp_path), modality=NUMBERS, folder=tmp_path / "run")
    train, held_out = (opened({**found.train, **changes}) for changes in ({}, found.validation))
    assert list(files(train).values()) == ["b", "a", "b", "a"]
    assert list(files(held_out).values()) == ["b", "a"]
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(MaeError, match="are of train; there must be train, and val"):
        find_data(str(tmp_path), modality=NUMBERS, folder=tmp_path / "run")

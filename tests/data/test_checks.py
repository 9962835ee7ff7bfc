"""Labelled data that no classifier can be trained on, or that would measure it wrongly, are refused, with lines."""

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import torch
from in_shards import in_shards
from torch import Tensor

from mae_core.data import checks
from mae_core.data.checks import check_classes, check_data
from mae_core.data.folders import FileFolder
from mae_core.interfaces import Dataset, Labels, Modality, Preview, Sample
from mae_registry import MaeError

NUMBERS = Modality(name="numbers", defaults={}, read="", picture="", file_suffixes=(".num",))


class NumberFolder(FileFolder):
    """Files whose content does not matter."""

    def __init__(self, root: Path | None, labels: str = "folders", split: str | None = None) -> None:
        super().__init__(root and str(root), modality=NUMBERS, what="numbers", labels=labels, split=split)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """Nothing."""
        return self.read(index)

    def read(self, index: int) -> Tensor | Sample:
        """Nothing."""
        return torch.zeros(1)


class Labelled(Dataset):
    """Labels alone."""

    def __init__(self, labels: Labels | None) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return 0 if self.labels is None else len(self.labels.targets)

    def load(self, index: int, *, random: Random) -> Tensor:
        """Nothing."""
        return torch.zeros(1)

    def describe(self, index: int) -> str:
        """Its number."""
        return f"sample {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        """None."""
        return []


def labelled(names: str, *targets: int) -> Labelled:
    return Labelled(Labels(tuple(names), torch.tensor(targets)))


def save(path: Path, text: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(path) if text is None else text, encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, two files each, in train/ and in val/."""
    for split in ("train", "val"):
        for name in ("a/1", "a/2", "b/3", "b/4"):
            save(tmp_path / split / f"{name}.num")
    return tmp_path


def check(root: Path) -> list[str]:
    return check_data(NumberFolder(root / "train"), NumberFolder(root / "val"))


def table(root: Path, *rows: str) -> tuple[NumberFolder, NumberFolder]:
    (root / "list.csv").write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    path = str(root / "list.csv")
    return NumberFolder(None, path, "train"), NumberFolder(None, path, "val")


def test_sound_data_pass(root: Path) -> None:
    assert check(root) == []
    rows = [f"{split}/{name}.num,{name[0]},{split}" for split in ("train", "val") for name in ("a/1", "b/3")]
    assert check_data(*table(root, *rows)) == []


@pytest.mark.parametrize(
    ("train", "held_out", "problem"),
    [
        (labelled("ab", 0, 1), labelled("a", 0), r"the held-out data \(sample 0, \.\.\.\) have no sample of the class b;"),
        (labelled("ab", 0, 0), labelled("ab", 0, 1), r"the training data \(sample 0, \.\.\.\) have no sample of the class b;"),
        (labelled("ab", 0, 1), labelled("bc", 0, 1), r"training data .* of the class c; the held-out data .* of the class a"),
        (labelled("abcdefg", *range(7)), labelled("a", 0), r"no sample of the class b, c, d, e and 2 more"),
        (labelled("a", 0, 0), labelled("a", 0), r"all samples are of one class, a \(sample 0\)"),
        (labelled("ab", 0, 1), Labelled(None), r"the samples have no labels \(sample 0\)"),
        (labelled("ab", 0, 1), Labelled(Labels(("a", "b"), torch.eye(2))), r"among the held-out data are samples with several"),
    ],
)
def test_classes_that_do_not_fit(train: Dataset, held_out: Dataset, problem: str) -> None:
    with pytest.raises(MaeError, match=problem):
        check_classes(train, held_out)


def test_classes_of_several_labels() -> None:
    both = Labelled(Labels(("a", "b"), torch.tensor([[1.0, 1.0]])))
    check_classes(both, both)
    one = Labelled(Labels(("a", "b"), torch.tensor([[1.0, 0.0]])))
    with pytest.raises(MaeError, match=r"held-out data .* no sample of the class b"):
        check_classes(both, one)


def test_missing_files_are_counted_and_the_first_ones_named_with_their_lines(root: Path) -> None:
    gone = [f"gone/{number}.num,a,train" for number in range(5)]
    with pytest.raises(MaeError, match=r"5 of 7 files do not exist: .*/gone/0\.num \(.*/list\.csv, line 3\); .*and 2 more"):
        check_data(
            *table(root, "train/a/1.num,a,train", *gone, "train/b/3.num,b,train", "val/a/1.num,a,val", "val/b/3.num,b,val")
        )


def test_a_file_that_is_listed_twice(root: Path) -> None:
    rows = ["train/a/1.num,a,train", "train/b/3.num,b,train", "train/../train/a/1.num,b,train"]
    with pytest.raises(MaeError, match=r"files are listed twice \(1 of 3\): .*list\.csv, line 2\); .*list\.csv, line 4\)"):
        check_data(*table(root, *rows, "val/a/1.num,a,val", "val/b/3.num,b,val"))


def test_a_file_in_both_splits_of_a_table(root: Path) -> None:
    rows = ["train/a/1.num,a,train", "train/b/3.num,b,train", "val/a/1.num,a,val", "./train/b/3.num,b,val"]
    with pytest.raises(
        MaeError, match=r"held-out files are the same .*\(1 of 2\): .*line 5\) is .*/train/b/3\.num \(.*line 3\)"
    ):
        check_data(*table(root, *rows))


def test_links_do_not_hide_a_leak(root: Path) -> None:
    (root / "val" / "a" / "new.num").symlink_to(root / "train" / "a" / "1.num")
    with pytest.raises(MaeError, match=r"held-out files are the same .*\(1 of 5\): .*/val/a/new\.num is .*/train/a/1\.num"):
        check(root)
    (root / "val" / "a" / "new.num").unlink()
    (root / "val" / "b" / "more").symlink_to(root / "train" / "b")
    with pytest.raises(MaeError, match=r"held-out files are the same .*\(2 of 6\)"):
        check(root)


@pytest.mark.parametrize("size", [10, checks.HEAD, checks.HEAD + 1, 3 * checks.CHUNK])
def test_copies_are_found_by_their_content(size: int, root: Path) -> None:
    for split, name in (("train", "b/copy"), ("val", "a/other name")):
        save(root / split / f"{name}.num", "x" * size)
    save(root / "val" / "a" / "almost.num", "x" * (size - 1) + "y")
    save(root / "val" / "a" / "longer.num", "x" * (size + 1))
    with pytest.raises(
        MaeError, match=r"held-out files are copies .*\(1 of 7\): .*/val/a/other name\.num is .*/train/b/copy\.num;"
    ):
        check(root)


def test_hard_links_and_every_copy_of_a_file_are_told(root: Path) -> None:
    for number in range(4):
        os.link(root / "train" / "a" / "1.num", root / "val" / "b" / f"linked{number}.num")
    with pytest.raises(MaeError, match=r"held-out files are copies .*\(4 of 8\).*; and 1 more"):
        check(root)


def test_empty_and_unreadable_files_are_left_to_training(root: Path) -> None:
    for split in ("train", "val"):
        save(root / split / "a" / "empty.num", "")
    assert check(root) == []


def test_what_is_not_compared_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        save(root / split / "a" / "same.num", "same")
        save(root / split / "b" / "same too.num", f"of equal size {split[0]}")
    monkeypatch.setattr(checks, "MAX_READ", 1)
    assert ["files were not compared" in note for note in check(root)] == [True]
    monkeypatch.setattr(checks, "MAX_SIZES", 8)
    assert ["more than 8 files" in note for note in check(root)] == [True]
    monkeypatch.undo()
    with pytest.raises(MaeError, match="copies"):
        check(root)


def test_only_files_of_equal_sizes_are_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(root / "train" / "a" / "1.num", "eleven")
    for path in sorted((root / "val").rglob("*.num")):
        save(path, str(path) * 2)

    def refuse(path: str, num_bytes: int) -> bytes:
        raise AssertionError(path)

    monkeypatch.setattr(checks, "_digest", refuse)
    assert check(root) == []


def test_data_that_are_no_files_are_checked_by_their_classes_alone() -> None:
    assert check_data(labelled("ab", 0, 1), labelled("ab", 1, 0)) == []


def test_copies_are_found_among_files_in_shards(tmp_path: Path) -> None:
    for part, name, text in (
        *(("train", f"{label}/{number}.num", f"{label}{number}") for label in "ab" for number in range(3)),
        *(("val", f"{label}/9.num", f"{label}9") for label in "ab"),
    ):
        (tmp_path / part / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part / name).write_text(text)
    roots = [Path(in_shards(tmp_path / part, tmp_path / f"{part}-shards", NUMBERS)) for part in ("train", "val")]
    assert check_data(*map(NumberFolder, roots)) == []
    (tmp_path / "val" / "b" / "8.num").write_text("a1")
    in_shards(tmp_path / "val", tmp_path / "leak", NUMBERS)
    with pytest.raises(MaeError, match=r"copies .*leak/000000\.tar:b/8\.num is .*train-shards/000000\.tar:a/1\.num"):
        check_data(NumberFolder(roots[0]), NumberFolder(tmp_path / "leak"))
    with pytest.raises(MaeError, match="the same as files that are trained on"):
        check_data(NumberFolder(roots[0]), NumberFolder(roots[0]))
    assert "not looked for" in check_data(NumberFolder(roots[0]), NumberFolder(tmp_path / "val"))[0]

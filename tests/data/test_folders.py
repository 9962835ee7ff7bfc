"""Folders of files: what is found in them, in which order, and what is said where nothing is."""

import contextlib
import os
import pickle
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from numbers_in_files import NumberFolder, save
from torch import Tensor

from mae_core.data.folders import spread
from mae_core.interfaces import LABEL, BadSample, Sample
from mae_registry import ConfigError


def names(root: Path) -> list[str]:
    folder = NumberFolder(str(root))
    return [os.path.relpath(folder.describe(index), root) for index in range(len(folder))]


def test_files_are_listed_by_suffix_and_sorted_by_the_bytes_of_their_names(tmp_path: Path) -> None:
    wanted = ["Z.NUM", "a/b/x.Txt", "a/y.num", "b.txt", "b/1.num", "ü.num"]
    for name in [*wanted, "a/.DS_Store", "a/._y.num", ".hidden/x.num", "a/notes.md", "num"]:
        save(tmp_path / name)
    assert names(tmp_path) == sorted(wanted, key=os.fsencode)


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.num")
    save(tmp_path / "a.num", 7)
    os.rename(tmp_path / "a.num", path)
    folder = NumberFolder(str(tmp_path))
    assert os.fsencode(folder.describe(0)) == path
    assert folder.load(0, random=Random(0)) == 7


def test_links_are_followed_and_each_folder_is_read_once(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "far.num")
    root = tmp_path / "root"
    save(root / "b" / "near.num")
    (root / "b" / "up").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "file.num").symlink_to(root / "b" / "near.num")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert names(root) == ["a/far.num", "b/near.num", "file.num"]


@pytest.mark.parametrize("backwards", [False, True])
def test_which_way_into_a_folder_is_taken_does_not_depend_on_the_disk(
    backwards: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "elsewhere" / "far.num")
    root = tmp_path / "root"
    root.mkdir()
    for name in "cab":
        (root / name).symlink_to(tmp_path / "elsewhere")
    scandir = os.scandir

    def in_order(path: bytes) -> contextlib.nullcontext[Sequence[os.DirEntry[bytes]]]:
        return contextlib.nullcontext(sorted(scandir(path), key=lambda entry: entry.name, reverse=backwards))

    monkeypatch.setattr(os, "scandir", in_order)
    assert names(root) == ["a/far.num"]


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, bind_socket, lambda path: path.symlink_to("nowhere")])
def test_only_regular_files_are_data(make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    make(Path("odd.num"))
    (tmp_path / "link.num").symlink_to("odd.num")
    with pytest.raises(ConfigError, match=r"contains no numbers but 2 other files \(2 \.num that is not a regular file\)"):
        NumberFolder(str(tmp_path))
    save(tmp_path / "1.num", 1)
    assert names(tmp_path) == ["1.num"]


def test_home_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "some" / "a.num")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for root in ("~/some", "some", "./some/"):
        assert NumberFolder(root).describe(0) == str(tmp_path / "some" / "a.num")


def test_errors_name_the_key_the_place_and_what_is_there_instead(tmp_path: Path) -> None:
    (tmp_path / "file.num").touch()
    (tmp_path / "bare").mkdir()
    for name in ("a.npy", "b.npy", "README"):
        save(tmp_path / "other" / name)
    for root, parts in (
        (None, ["add data.numbers.root=DIR, a folder of numbers"]),
        (tmp_path / "none", [f"data.numbers.root: there is no folder {tmp_path}/none"]),
        (tmp_path / "file.num", ["data.numbers.root", f"{tmp_path}/file.num is a file"]),
        (tmp_path / "bare", ["data.numbers.root", f"{tmp_path}/bare contains no numbers; it is empty", ".num, .txt"]),
        (tmp_path / "other", ["contains no numbers but 3 other files (2 .npy, 1 without a suffix)", ".num, .txt"]),
        ("a\0b", ["data.numbers.root"]),
    ):
        with pytest.raises(ConfigError) as caught:
            NumberFolder(root and str(root))
        assert [part for part in parts if part not in str(caught.value)] == []


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: bytes) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=f"{tmp_path} cannot be listed: Permission denied"):
        NumberFolder(str(tmp_path))


def test_many_names_are_sent_to_workers_as_one_object(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number:03}.num").touch()
    folder = NumberFolder(str(tmp_path))
    sent = pickle.dumps(folder)
    assert len(sent) < 200 * 20
    assert pickle.loads(sent).describe(150) == str(tmp_path / "150.num")


def test_previews_are_spread_and_leave_out_what_cannot_be_read(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / f"{number}.num", number)
    folder = NumberFolder(str(tmp_path))
    previews = folder.previews(3)
    assert [(preview.title, preview.note) for preview in previews] == [(f"{n}.num", "training") for n in (0, 3, 6)]
    assert [float(preview.sample) for preview in previews] == [0, 3, 6]
    (tmp_path / "3.num").write_text("")
    assert [preview.title for preview in folder.previews(3)] == ["0.num", "6.num"]
    assert len(folder.previews(99)) == 9
    assert folder.previews(0) == []


def test_indices_are_spread_evenly() -> None:
    assert spread(4, 10) == [0, 2, 5, 7]
    assert spread(9, 3) == [0, 1, 2]
    assert spread(0, 3) == spread(2, 0) == []


def test_the_folders_of_a_folder_are_its_classes(tmp_path: Path) -> None:
    # the bytes of names are sorted otherwise than the names of classes: "é" comes behind "z", "cat-1/" before "cat/"
    for name in ("dog/1.num", "cat/deep/2.num", "cat/3.num", "cat-1/4.num", "é/5.num"):
        save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    folder = NumberFolder(str(tmp_path), labels="folders")
    assert folder.labels is not None
    assert folder.labels.names == tuple(sorted(["cat", "cat-1", "dog", "é"]))
    for index in range(len(folder)):
        assert folder.labels.names[int(folder.labels.targets[index])] == folder.name(index).split("/")[0]
    assert folder.labels.targets.dtype == torch.int64
    assert folder.labels.counts().tolist() == [2, 1, 1, 1]
    assert NumberFolder(str(tmp_path)).labels is None
    save(tmp_path / "loose.num")
    with pytest.raises(ConfigError, match=f"{tmp_path}/loose.num"):
        NumberFolder(str(tmp_path), labels="folders")


def test_labels_travel_with_what_is_loaded_and_read(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.num", 1)
    save(tmp_path / "b" / "2.num", 2)
    folder = NumberFolder(str(tmp_path), labels="folders")
    for sample in (folder.load(1, random=Random(0)), folder.read(1)):
        assert isinstance(sample, Sample)
        assert (float(sample.x), sample.extras[LABEL].tolist()) == (2, 1)
    several = folder.labelled(torch.zeros(3, 1), 1, num_views=3)
    assert isinstance(several, Sample)
    assert several.extras[LABEL].tolist() == [1, 1, 1]
    assert isinstance(NumberFolder(str(tmp_path)).read(1), Tensor)


def test_extras_lie_beside_the_files(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.num", 1)
    save(tmp_path / "a" / "2.num", 2)
    np.save(tmp_path / "a" / "1.place.npy", np.array([3.0, 4.0], dtype=np.float32))
    folder = NumberFolder(str(tmp_path), labels="folders", extras=("place",))
    sample = folder.read(0)
    assert isinstance(sample, Sample)
    assert {name: extra.tolist() for name, extra in sample.extras.items()} == {"place": [3, 4], LABEL: 0}
    several = folder.labelled(torch.zeros(3, 1), 0, num_views=3)
    assert isinstance(several, Sample)
    assert several.extras["place"].shape == (3, 2)
    with pytest.raises(BadSample, match=f"{tmp_path}/a/2.place.npy: the file cannot be read: No such file"):
        folder.read(1)
    np.save(tmp_path / "a" / "2.place.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(BadSample, match=r"2\.place\.npy: it is not an array of numbers"):
        folder.read(1)


def test_a_csv_says_which_files_there_are(tmp_path: Path) -> None:
    save(tmp_path / "sub" / "1.num", 1)
    save(tmp_path / "elsewhere" / "odd.xyz", 2)
    save(tmp_path / "sub" / "unlisted.num", 3)
    table = tmp_path / "list.csv"
    table.write_text(f"path,label\nsub/1.num,b\n{tmp_path}/elsewhere/odd.xyz,a\nsub/1.num,a\n", encoding="utf-8")
    folder = NumberFolder(None, labels=str(table))
    assert [folder.describe(index) for index in range(len(folder))] == [
        *(f"{tmp_path}/sub/1.num", f"{tmp_path}/elsewhere/odd.xyz", f"{tmp_path}/sub/1.num")
    ]
    assert folder.labels is not None
    assert (folder.labels.names, folder.labels.targets.tolist()) == (("a", "b"), [1, 0, 0])
    table.write_text("path,label\n1.num,b\n", encoding="utf-8")
    assert NumberFolder(str(tmp_path / "sub"), labels=str(table)).describe(0) == f"{tmp_path}/sub/1.num"


def test_a_split_of_a_csv_is_taken_and_has_the_classes_of_all(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path,label,split\n1.num,b,val\n2.num,a,train\n3.num,c,val\n", encoding="utf-8")
    folder = NumberFolder(None, labels=str(table), split="val")
    assert [folder.name(index) for index in range(len(folder))] == ["1.num", "3.num"]
    assert folder.labels is not None
    assert (folder.labels.names, folder.labels.targets.tolist()) == (("a", "b", "c"), [1, 2])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"split": "val"}, r"data\.numbers\.split=val needs a CSV file.*data\.numbers\.labels"),
        ({"labels": "folders", "split": "val"}, r"data\.numbers\.split=val needs a CSV"),
        ({"labels": "folder"}, r"data\.numbers\.labels: .*/folder cannot be read: .*null, folders, or the path of a CSV"),
        ({"labels": "splits.csv"}, r"add data\.numbers\.split=NAME, one of train, val"),
        ({"labels": "splits.csv", "split": "vla"}, r"has no split 'vla'\. Did you mean 'val'"),
        ({"labels": "plain.csv", "split": "val"}, r"plain\.csv has no column split; leave data\.numbers\.split out"),
    ],
)
def test_what_is_said_of_labels_and_splits_that_do_not_fit(
    options: dict[str, str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "splits.csv").write_text("path,label,split\n1.num,b,val\n2.num,a,train\n", encoding="utf-8")
    (tmp_path / "plain.csv").write_text("path,label\n1.num,b\n", encoding="utf-8")
    save(tmp_path / "a" / "1.num")
    with pytest.raises(ConfigError, match=problem):
        NumberFolder(str(tmp_path), **options)


def test_balanced_epochs_weigh_files_by_the_numbers_of_their_classes(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "a/3", "b/4"):
        save(tmp_path / f"{name}.num")
    draws = NumberFolder(str(tmp_path), labels="folders", balanced=2).draws
    assert draws is not None
    assert draws.number == 2
    assert torch.allclose(draws.weights, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1], dtype=torch.float64))
    (tmp_path / "list.csv").write_text("path,label\n1,a;b\n2,a\n3,c\n4,a;c\n", encoding="utf-8")
    draws = NumberFolder(None, labels=str(tmp_path / "list.csv"), balanced=4).draws
    assert draws is not None
    expected = torch.tensor([1 / 3 + 1, 1 / 3, 1 / 2, 1 / 3 + 1 / 2], dtype=torch.float64)
    assert torch.allclose(draws.weights, expected, rtol=1e-12)
    assert NumberFolder(str(tmp_path), labels="folders").draws is None
    with pytest.raises(ConfigError, match=r"data\.numbers\.balanced .*needs labels: set data\.numbers\.labels"):
        NumberFolder(str(tmp_path), balanced=2)

"""Archives of others: an index is made for those that are sound, and the others are refused by name."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from numbers_in_files import NUMBERS, NumberFolder

from mae_core.data.index_shards import check_shards, index_shards
from mae_core.data.shard_store import ShardStore
from mae_core.interfaces import as_sample
from mae_registry import MaeError

Member = tuple[str, bytes | tarfile.TarInfo]


def write(path: Path, members: Sequence[Member]) -> None:
    """An archive. A member is its name with its content, or what tar says of it."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            about = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            about.name, about.size = name, len(data)
            archive.addfile(about, io.BytesIO(data))


def make_index(folder: Path, *, overwrite: bool = False) -> None:
    index_shards(str(folder), suffixes=NUMBERS.file_suffixes, overwrite=overwrite)


def test_archives_of_others_get_an_index(tmp_path: Path) -> None:
    root, long = tmp_path / "shards", "y" * 120
    write(root / "b-1.tar", [("x/3.json", b"{}"), ("x/3.num", b"3"), ("x/3.cls", b"0")])
    write(
        root / "a-1.tar",
        [("./1.num", b"1"), ("./1.cls", b"11\n"), (f"{long}.lower.num", b"2"), (f"{long}.cls", b"2")],
    )
    (root / "notes.txt").touch()
    make_index(root)
    dataset = NumberFolder(str(root))
    samples = [as_sample(dataset.read(index)) for index in range(len(dataset))]
    assert [(float(sample.x), int(sample.extras["label"])) for sample in samples] == [(1, 11), (2, 2), (3, 0)]
    assert dataset.labels is not None
    assert (len(dataset.labels.names), dataset.labels.names[11]) == (12, "11")
    assert dataset.describe(2) == f"{root}/b-1.tar:x/3.num"
    with pytest.raises(MaeError, match="--overwrite"):
        make_index(root)
    write(root / "b-1.tar", [("x/3.num", b"4")])
    with pytest.raises(MaeError, match=r"1 of 3 samples have no label: x/3\.num"):
        make_index(root, overwrite=True)
    write(root / "a-1.tar", [("1.num", b"1")])
    make_index(root, overwrite=True)
    assert NumberFolder(str(root)).labels is None


def link() -> tarfile.TarInfo:
    about = tarfile.TarInfo()
    about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return about


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("1.num", b"1"), ("../2.num", b"2")], r"a\.tar: the name of its member '\.\./2\.num' leads out"),
        ([("a/../../2.num", b"2")], "leads out"),
        ([("/tmp/2.num", b"2")], "leads out"),
        ([("2.num", link())], r"its member '2\.num' is not an ordinary file"),
        ([("1.num", b"1"), ("1.txt", b"1")], r"a\.tar: 1\.txt is the second file of the key 1"),
        ([("1.num", b"1"), ("1.cls", b"dog")], r"a\.tar: its member '1\.cls' holds 'dog', .* whole number"),
        ([("1.num", b"1"), ("1.cls", b"-1")], r"'1\.cls' holds '-1', .* from 0 to"),
        ([("1.num", b"1"), ("x.cls", b"999999999999")], r"'x\.cls' holds '999999999999', .* to 16,777,215"),
        ([("1.num", b"1"), ("1.cls", b"1" * 10_000)], r"its member '1\.cls' holds '1{64}'"),
        ([("1.xyz", b"1")], r"hold no file whose name ends in \.num or \.txt"),
    ],
)
def test_archives_that_are_refused(members: Sequence[Member], problem: str, tmp_path: Path) -> None:
    write(tmp_path / "s" / "a.tar", members)
    with pytest.raises(MaeError, match=problem):
        make_index(tmp_path / "s")
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.tar"]


def test_truncated_archives_are_refused_wherever_they_end(tmp_path: Path) -> None:
    path = tmp_path / "s" / "a.tar"
    write(path, [("1.num", b"1"), ("2.num", b"2" * 1000)])
    whole = path.read_bytes()
    for length in (0, 100, 512, 1024, 1300, 1536, 2000, 2560):
        path.write_bytes(whole[:length])
        with pytest.raises(MaeError, match=r"a\.tar is no archive that can be read to its end"):
            make_index(path.parent)
    with pytest.raises(MaeError, match=r"contains no \.tar files"):
        make_index(tmp_path)
    with pytest.raises(MaeError, match="cannot be listed"):
        make_index(tmp_path / "none")


def test_a_check_finds_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "s" / "a.tar"
    write(path, [(f"{number}.num", b"1") for number in range(5)])
    make_index(path.parent)
    assert check_shards(ShardStore(str(path.parent), key="SHARDS")) == []
    data = bytearray(path.read_bytes())
    data[3 * 1024 + 512] ^= 4
    path.write_bytes(data)
    (problem,) = check_shards(ShardStore(str(path.parent), key="SHARDS"))
    assert problem.startswith(f"{path}:3.num: the shard is damaged")

"""Shards: what is written is read back, here and elsewhere, and what is damaged is said by name."""

import io
import json
import multiprocessing
import os
import pickle
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from numbers_in_files import NUMBERS, NumberFolder, save
from torch import Tensor

from mae_core.data.folders import open_files
from mae_core.data.make_shards import Made, make_shards
from mae_core.data.ranges import MAX_OPEN, LocalRanges
from mae_core.data.shard_index import checksum
from mae_core.data.shard_writer import open_output
from mae_core.interfaces import LABEL, BadSample, as_sample
from mae_registry import ConfigError, MaeError

SHARD_BYTES = 4 * 1024
"""A few files."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve labelled files with an extra each, with names of several kinds."""
    root = tmp_path / "files"
    names = ["a/1.num", "a/1.txt", "a/2.x.num", "a/é ü.num", "b.c/3.num", "b.c/4.NUM", *(f"d/{n}.num" for n in range(5))]
    for number, name in enumerate([*names, "d/9..9.num"]):
        save(root / name, number)
        np.save((root / name).with_suffix(".time.npy"), np.array([number, 7]))
    return root


def make(
    root: Path | str, output: Path | str, *, labels: str | None = None, extras: tuple[str, ...] = (), **options: object
) -> Made:
    opened = open_files(str(root), labels, None, suffixes=NUMBERS.file_suffixes, what="numbers", key="DATA")
    given = {"shard_bytes": SHARD_BYTES, "labels": opened.labels, "extras": extras, **options}
    return make_shards(opened.store, open_output(str(output)), **given)  # pyright: ignore[reportArgumentType]


def contents(dataset: NumberFolder) -> list[tuple[str, float, dict[str, list[int]]]]:
    samples = [as_sample(dataset.read(index)) for index in range(len(dataset))]
    extras = [{name: extra.tolist() for name, extra in sample.extras.items()} for sample in samples]
    return [(dataset.name(i), float(sample.x), extra) for i, (sample, extra) in enumerate(zip(samples, extras, strict=True))]


def test_shards_are_the_folder_that_they_were_made_of(folder: Path, tmp_path: Path) -> None:
    made = make(folder, tmp_path / "shards", labels="folders", extras=("time",))
    assert len(made.manifest.shards) > 2
    assert made.skipped == []
    plain = NumberFolder(str(folder), labels="folders", extras=("time",))
    shards = NumberFolder(str(tmp_path / "shards"))
    assert contents(shards) == contents(plain)
    assert shards.labels is not None
    assert plain.labels is not None
    assert shards.labels.names == plain.labels.names
    assert contents(NumberFolder(str(tmp_path / "shards"), in_memory=True)) == contents(plain)
    assert contents(pickle.loads(pickle.dumps(shards))) == contents(plain)
    assert contents(NumberFolder(str(tmp_path / "shards"), extras=(), labels="folders"))[3][2].keys() == {LABEL}
    with pytest.raises(ConfigError, match=r"data\.numbers\.extras: tmie .* Did you mean 'time'"):
        NumberFolder(str(tmp_path / "shards"), extras=("tmie",))
    again = make(tmp_path / "shards", tmp_path / "again", extras=("time",))
    assert [shard.num_samples for shard in again.manifest.shards] == [shard.num_samples for shard in made.manifest.shards]
    assert (tmp_path / "again" / "000001.tar").read_bytes() == (tmp_path / "shards" / "000001.tar").read_bytes()


def test_samples_of_several_labels(folder: Path, tmp_path: Path) -> None:
    (folder / "list.csv").write_text("path,label\na/1.num,x;y\nd/0.num,y\n../files/a/1.txt,z\n", encoding="utf-8")
    make(folder, tmp_path / "shards", labels=str(folder / "list.csv"))
    shards = NumberFolder(str(tmp_path / "shards"))
    assert shards.labels is not None
    assert shards.labels.targets.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert shards.name(2) == "files/a/1.txt"  # names stay below the root
    with tarfile.open(tmp_path / "shards" / "000000.tar") as archive:
        assert json.load(archive.extractfile("a/1.json")) == {"labels": [0, 1]}  # pyright: ignore[reportArgumentType]


def test_other_tools_read_the_archives(folder: Path, tmp_path: Path) -> None:
    """Members of one sample share all up to the first dot of the last part of their names, and follow each other."""
    make(folder, tmp_path / "shards", labels="folders", extras=("time",))
    plain = NumberFolder(str(folder), labels="folders")
    assert plain.labels is not None
    keys: list[str] = []
    for path in sorted((tmp_path / "shards").glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                head, _, last = member.name.rpartition("/")
                key, _, suffix = last.partition(".")
                keys += [f"{head}/{key}"] if f"{head}/{key}" not in keys[-1:] else []
                data = archive.extractfile(member)
                assert data is not None
                if suffix == "cls":
                    assert int(data.read()) == int(plain.labels.targets[len(keys) - 1])
                elif suffix == "time.npy":
                    assert np.load(io.BytesIO(data.read()))[1] == 7
                else:
                    assert float(data.read()) == float(as_sample(plain.read(len(keys) - 1)).x)
    assert len(keys) == len(set(keys)) == len(plain)
    assert keys[0] == "a/1"
    about = json.loads((tmp_path / "shards" / "shards.json").read_bytes())
    assert about["__kind__"] == "wids-shard-index-v1"
    for shard in about["shardlist"]:
        assert (tmp_path / "shards" / shard["url"]).stat().st_size == shard["filesize"]
    assert sum(shard["nsamples"] for shard in about["shardlist"]) == len(plain)


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """An address of its own."""
    yield "memory://bucket/set"
    files = fsspec.filesystem("memory")
    files.rm("/bucket", recursive=True)


def test_shards_elsewhere(folder: Path, tmp_path: Path, elsewhere: str) -> None:
    make(folder, elsewhere, labels="folders")
    plain = contents(NumberFolder(str(folder), labels="folders"))
    assert contents(NumberFolder(elsewhere)) == plain
    assert contents(pickle.loads(pickle.dumps(NumberFolder(elsewhere)))) == plain
    cached = NumberFolder(elsewhere, cache=str(tmp_path / "cache"))
    assert contents(cached) == plain
    fsspec.filesystem("memory").rm("/bucket/set/000001.tar")
    assert contents(cached) == plain  # each was copied as a whole
    with pytest.raises(ConfigError, match=r"numbers\.root: 1 of \d+ shards are missing in memory://bucket/set: 000001\.tar"):
        NumberFolder(elsewhere)
    make(folder, f"file://{tmp_path}/other")
    assert [value for _, value, _ in contents(NumberFolder(f"file://{tmp_path}/other"))] == [value for _, value, _ in plain]


def test_addresses_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for root, problem in (
        ("memory://nothing/there", r"data\.numbers\.root: memory://nothing/there/shards\.json cannot be read"),
        ("memory://nothing/a.parquet", "Parquet files are read from this machine alone"),
        ("nonsense://bucket", r"data\.numbers\.root: nonsense://bucket is not an address"),
        ("memory://", r"data\.numbers\.root: memory:// names no folder"),
        ("s3://bucket/set", "s3://bucket/set needs another package: Install s3fs"),
    ):
        with pytest.raises(ConfigError, match=problem):
            NumberFolder(root)
    save(tmp_path / "1.num")
    with pytest.raises(ConfigError, match=r"data\.numbers\.cache=.*leave it out"):
        NumberFolder(str(tmp_path), cache=str(tmp_path))


shared: NumberFolder | None = None
"""What forked processes have."""


def read_all(dataset: NumberFolder) -> list[Tensor]:
    return [as_sample(dataset.read(index)).x for index in range(len(dataset))]


def test_forked_processes_read_the_same_open_shards(folder: Path, tmp_path: Path) -> None:
    make(folder, tmp_path / "shards")
    global shared
    shared = dataset = NumberFolder(str(tmp_path / "shards"))
    expected = read_all(dataset)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(_numbers_of, [20] * 4):
            assert found == [float(value) for value in expected] * 20
    assert read_all(dataset) == expected


def _numbers_of(times: int) -> list[float]:
    assert shared is not None
    return [float(value) for _ in range(times) for value in read_all(shared)]


def test_few_files_stay_open(tmp_path: Path) -> None:
    for number in range(MAX_OPEN + 10):
        (tmp_path / f"{number}").write_bytes(b"%03d" % number)
    before = len(os.listdir("/proc/self/fd"))
    ranges = LocalRanges(str(tmp_path))
    for number in [*range(MAX_OPEN + 10), 0, 1]:
        assert ranges.read(f"{number}", 1, 2) == b"%02d" % (number % 100)
    assert len(os.listdir("/proc/self/fd")) <= before + MAX_OPEN
    del ranges
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_damaged_file_is_a_bad_sample_with_the_names_of_shard_and_file(folder: Path, tmp_path: Path) -> None:
    make(folder, tmp_path / "shards")
    path = tmp_path / "shards" / "000000.tar"
    data = bytearray(path.read_bytes())
    data[512] ^= 1  # in the first file
    path.write_bytes(data)
    dataset = NumberFolder(str(tmp_path / "shards"))
    with pytest.raises(BadSample, match=rf"^{path}:a/1\.num: the shard is damaged"):
        dataset.read(0)
    assert float(as_sample(dataset.read(1)).x) == 1
    os.truncate(path, 1024)  # while it is in use
    with pytest.raises(BadSample, match=rf"^{path}:a/1\.txt: the shard is truncated"):
        dataset.read(1)
    dataset = pickle.loads(pickle.dumps(NumberFolder(str(make_again(folder, tmp_path)))))
    (tmp_path / "again" / "000001.tar").unlink()
    with pytest.raises(BadSample, match=r"/again/000001\.tar:.*: the shard cannot be read: No such file"):
        dataset.read(len(dataset) // 2)


def make_again(folder: Path, tmp_path: Path) -> Path:
    make(folder, tmp_path / "again", overwrite=True)
    return tmp_path / "again"


def test_shards_that_are_not_whole_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "again"

    def refused(problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            NumberFolder(str(root))
        make_again(folder, tmp_path)

    make_again(folder, tmp_path)
    (root / "000002.tar").unlink()
    refused(r"data\.numbers\.root: 1 of \d shards are missing in .*/again: 000002\.tar")
    os.truncate(root / "000001.tar", 1000)
    refused(r"/again/000001\.tar has 1,000 bytes, and shards\.json says [\d,]+: it is truncated")
    (root / "shards.json").unlink()
    refused(r"holds shards but no shards\.json.*--overwrite")
    (root / "shards.json").write_bytes((root / "shards.json").read_bytes()[:-20])
    refused(r"shards\.json is damaged")
    (root / "shards.json").write_text('{"__kind__": "wids-shard-index-v1"}')
    refused(r"mae shards index")
    index = (root / "index.safetensors").read_bytes()
    for content in (index[:-1], index[:40], b"", bytes([index[0] ^ 1, *index[1:]])):
        (root / "index.safetensors").write_bytes(content)
        refused(r"/again/index\.safetensors")
    about = json.loads((root / "shards.json").read_bytes())
    about["shardlist"][0]["url"] = "../../000000.tar"
    (root / "shards.json").write_text(json.dumps(about))
    refused(r"the shard '\.\./\.\./000000\.tar' is not the name of a file beside")


@pytest.mark.parametrize("name", [b"/etc/1.num", b"a/../../1.num"])
def test_names_that_lead_out_of_the_folder_are_refused(name: bytes, tmp_path: Path) -> None:
    """As an index might hold them that another program wrote."""
    save(tmp_path / "files" / ("x" * (len(name) - 4) + ".num"))
    make(tmp_path / "files", tmp_path / "shards")
    index = (tmp_path / "shards" / "index.safetensors").read_bytes().replace(b"x" * (len(name) - 4) + b".num", name)
    (tmp_path / "shards" / "index.safetensors").write_bytes(index)
    about = json.loads((tmp_path / "shards" / "shards.json").read_bytes()) | {"index_crc32": checksum(index)}
    (tmp_path / "shards" / "shards.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="leads out of the folder"):
        NumberFolder(str(tmp_path / "shards"))


def test_shards_are_never_replaced_unasked_and_other_files_never(folder: Path, tmp_path: Path) -> None:
    root = make_again(folder, tmp_path)
    with pytest.raises(MaeError, match="--overwrite"):
        make(folder, root)
    for name in ("notes.txt", "20230115-backup.tar", "000001-000099.tar", "shards.json.bak", "000001.tar.partial"):
        (root / name).write_text("mine")
        for overwrite in (False, True):
            with pytest.raises(MaeError, match=rf"other files than shards \({name}\)"):
                make(folder, root, overwrite=overwrite)
        (root / name).unlink()
    for name in (".000007.abc.partial", ".index.safetensors.a_b1"):  # of a process that was killed
        (root / name).touch()
    make(folder, root, overwrite=True, shard_bytes=2**20)
    assert sorted(os.listdir(root)) == ["000000.tar", "index.safetensors", "shards.json"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_cannot_be_read_is_skipped_and_listed(num_workers: int, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "1.num").write_bytes(b"")
    (folder / "d" / "0.num").unlink()
    (folder / "list.csv").write_text(
        "path,label\n" + "".join(f"{name},x\n" for name in ("a/1.num", "a/1.txt", "d/0.num", "d/1.num")), encoding="utf-8"
    )
    made = make(folder, tmp_path / "shards", labels=str(folder / "list.csv"), num_workers=num_workers)
    assert [path for path, _ in made.skipped] == [f"{folder}/a/1.num", f"{folder}/d/0.num"]
    shards = NumberFolder(str(tmp_path / "shards"))
    assert [name for name, _, _ in contents(shards)] == ["a/1.txt", "d/1.num"]
    assert "the file is empty" in (tmp_path / "shards" / "skipped.csv").read_text()
    (folder / "list.csv").write_text("path,label\na/1.num,x\n", encoding="utf-8")
    with pytest.raises(MaeError, match="none of the 1 files can be read"):
        make(folder, tmp_path / "none", labels=str(folder / "list.csv"))


def test_nothing_looks_complete_when_making_is_broken_off(folder: Path, tmp_path: Path) -> None:
    make_again(folder, tmp_path)

    def stop(done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(folder, tmp_path / "again", overwrite=True, progress=stop)
    assert not any(name.endswith(".partial") for name in os.listdir(tmp_path / "again"))
    with pytest.raises(ConfigError, match=r"no shards\.json"):
        NumberFolder(str(tmp_path / "again"))


def test_a_table_chooses_among_the_files_of_shards(folder: Path, tmp_path: Path) -> None:
    make(folder, tmp_path / "shards")
    table = tmp_path / "list.csv"
    table.write_text("path,label,split\nd/3.num,b,val\na/1.num,a,train\nd/1.num,a,val\n", encoding="utf-8")
    chosen = NumberFolder(str(tmp_path / "shards"), labels=str(table), split="val", in_memory=True)
    assert [(name, value) for name, value, _ in contents(chosen)] == [("d/3.num", 9), ("d/1.num", 7)]
    assert chosen.labels is not None
    assert torch.equal(chosen.labels.targets, torch.tensor([1, 0]))
    table.write_text("path,label\nd/3.num,b\nd/33.num,a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"list\.csv, line 3: d/33\.num is not in the shards"):
        NumberFolder(str(tmp_path / "shards"), labels=str(table))


def test_what_does_not_fit_into_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mae_core.data.stores._free_memory", lambda: 10)
    with pytest.raises(ConfigError, match=r"data\.numbers\.in_memory: the files are .* leave data\.numbers\.in_memory out"):
        NumberFolder(str(folder), in_memory=True)


def test_files_in_memory_that_could_not_be_read_say_so_when_asked_for(folder: Path) -> None:
    (folder / "a" / "1.num").write_bytes(b"")
    dataset = NumberFolder(str(folder), in_memory=True)
    with pytest.raises(BadSample, match=f"{folder}/a/1.num: the file is empty"):
        dataset.read(0)
    (folder / "a" / "1.txt").unlink()
    assert float(as_sample(dataset.read(1)).x) == 1


def test_requests_that_fail_are_repeated(folder: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(folder, elsewhere)
    dataset = NumberFolder(elsewhere)
    files = type(fsspec.filesystem("memory"))
    whole, failures = files.cat_file, [TimeoutError("slow"), RuntimeError("reset"), ConnectionError("gone")]

    def fail_at_first(self: object, path: str, start: int, end: int) -> bytes:
        if failures:
            raise failures.pop()
        return whole(self, path, start, end)

    monkeypatch.setattr("mae_core.data.ranges.PAUSES", (0, 0, 0))
    monkeypatch.setattr(files, "cat_file", fail_at_first)
    assert float(as_sample(dataset.read(1)).x) == 1
    failures += [RuntimeError("reset")] * 4
    with pytest.raises(
        BadSample, match=r"^memory://bucket/set/000000\.tar:a/1\.txt: the shard cannot be read: RuntimeError: reset"
    ):
        dataset.read(1)
    monkeypatch.setattr(files, "cat_file", lambda self, path, start, end: whole(self, path))  # a server without ranges
    with pytest.raises(BadSample, match="set a cache"):
        dataset.read(1)


def crash(file: object) -> tuple[bytes, str]:
    """A decoder that ends its process."""
    os._exit(11)


def test_a_crash_of_a_process_that_reads_is_said_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MaeError, match=r"a process that reads files has ended.*--workers 0"):
        make(folder, tmp_path / "shards", encode=crash, num_workers=1)
    assert os.listdir(tmp_path / "shards") == []

"""Parquet files as Hugging Face publishes them: files in a column, labels in another."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from numbers_in_files import NumberFolder
from pyarrow import parquet

from mae_core.data import parquet_store
from mae_core.interfaces import BadSample, as_sample
from mae_registry import ConfigError

CLASSES = ["zebra", "ant"]
"""Not in the order of the alphabet."""


def write(path: Path, columns: Mapping[str, Any], *, classes: Mapping[str, Sequence[str]] | None = None) -> None:
    """A file of row groups of two rows, whose metadata name the classes of columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(columns))
    if classes is not None:
        features = {name: {"names": list(names), "_type": "ClassLabel"} for name, names in classes.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, row_group_size=2)


def files(*numbers: object) -> list[dict[str, Any]]:
    return [{"bytes": str(number).encode(), "path": f"{number}.num"} for number in numbers]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits, one of two files."""
    data, classes = tmp_path / "set" / "data", {"kind": CLASSES}
    write(data / "train-00000-of-00002.parquet", {"content": files(0, 1, 2), "kind": [0, 1, 1]}, classes=classes)
    write(data / "train-00001-of-00002.parquet", {"content": files(3, 4), "kind": [0, 1]}, classes=classes)
    write(data / "test-00000-of-00001.parquet", {"content": files(9), "kind": [1]}, classes=classes)
    (tmp_path / "set" / "README.md").touch()
    return tmp_path / "set"


def read(dataset: NumberFolder) -> list[tuple[float, str]]:
    samples = [as_sample(dataset.read(index)) for index in range(len(dataset))]
    assert dataset.labels is not None
    return [(float(sample.x), dataset.labels.names[int(sample.extras["label"])]) for sample in samples]


def test_rows_are_samples_with_their_classes(root: Path) -> None:
    expected = [(0, "zebra"), (1, "ant"), (2, "ant"), (3, "zebra"), (4, "ant")]
    dataset = NumberFolder(str(root), split="train")
    assert dataset.labels is not None
    assert dataset.labels.names == ("ant", "zebra")
    assert read(dataset) == expected
    assert read(dataset)[::-1] == expected[::-1]
    assert read(pickle.loads(pickle.dumps(dataset))) == expected
    assert read(NumberFolder(str(root), split="train", in_memory=True)) == expected
    assert read(NumberFolder(str(root / "data" / "tr*.parquet"))) == expected
    assert read(NumberFolder(str(root / "data" / "test-00000-of-00001.parquet"))) == [(9, "ant")]
    assert dataset.describe(4) == f"{root}/data/train-00001-of-00002.parquet:000000004"


def test_splits_in_folders_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write(tmp_path / "data" / split / "0000.parquet", {"file": [b"1"]})
    assert len(NumberFolder(str(tmp_path / "data"), split="validation")) == 1


def test_few_row_groups_are_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(parquet_store, "MAX_KEPT", 1)
    dataset = NumberFolder(str(root), split="train")
    whole = parquet_store._open
    monkeypatch.setattr(parquet_store, "_open", lambda path, key: opened.append(path) or whole(path, key))
    for index in (0, 1, 0, 2, 0):
        dataset.read(index)
    assert len(opened) == 3


def test_labels_in_a_column_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, {"file": [b"1", b"2"], "name": ["b", "a"], "fine": [1, 0]}, classes={"fine": ["x", "y"]})
    assert read(NumberFolder(str(path), labels="name")) == [(1, "b"), (2, "a")]
    assert read(NumberFolder(str(path))) == [(1, "y"), (2, "x")]
    write(path, {"file": [b"1"], "name": ["b"]})
    assert NumberFolder(str(path)).labels is None


def test_what_is_refused(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "none.parquet", {"number": [1]})
    write(tmp_path / "two.parquet", {"a": [b"1"], "b": [b"1"]})
    write(tmp_path / "empty.parquet", {"a": pa.array([], pa.binary())})
    write(tmp_path / "unlabelled.parquet", {"a": [b"1"], "label": [-1]}, classes={"label": CLASSES})
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for path, options, problem in (
        (root, {}, r"data\.numbers\.root: .* has several splits; add data\.numbers\.split=NAME, one of test, train"),
        (root, {"split": "val"}, r"no Parquet files of a split val; there are test, train"),
        (root, {"split": "test", "labels": "knid"}, r"data\.numbers\.labels=knid: .* its columns are .*kind \(int64\)"),
        (tmp_path / "none.parquet", {}, r"one column of .*none\.parquet must hold files, .*there are number \(int64\)"),
        (tmp_path / "two.parquet", {}, "one column of"),
        (tmp_path / "empty.parquet", {}, "holds no rows"),
        (tmp_path / "unlabelled.parquet", {}, "the label of row 0 is -1"),
        (tmp_path / "broken.parquet", {}, r"broken\.parquet is no Parquet file"),
    ):
        with pytest.raises(ConfigError, match=problem):
            NumberFolder(str(path), **options)


def test_damaged_rows_are_bad_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, {"file": [{"bytes": b"x", "path": "a"}, {"bytes": None, "path": "b"}, {"bytes": b"1", "path": "c"}]})
    dataset = NumberFolder(str(path))
    for index, problem in ((0, "could not convert"), (1, "holds no bytes in this row")):
        with pytest.raises(BadSample, match=f"^{path}:00000000{index}.*{problem}"):
            dataset.read(index)
    assert float(as_sample(dataset.read(2)).x) == 1
    content = bytearray(path.read_bytes())
    content[:200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(BadSample, match=f"^{path}:000000000"):
        NumberFolder.read(dataset := NumberFolder(str(path)), 0)

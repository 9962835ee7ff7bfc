"""CSV files of paths and labels: what is read, and what is said of lines that are wrong."""

import os
from pathlib import Path

import pytest
import torch

from mae_core.data.tables import read_table, write_table
from mae_registry import ConfigError


def table_of(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_columns_come_in_any_order_and_blank_lines_are_left_out(tmp_path: Path) -> None:
    path = table_of(tmp_path, '\ufefflabel, path\r\nb,"x, y.num"\r\n\r\n a ,z.num\r\n')
    table = read_table(path, key="data.numbers")
    assert (table.paths, table.classes, table.splits, list(table.lines)) == (["x, y.num", "z.num"], ["b", "a"], None, [2, 4])
    assert table.folder == str(tmp_path)


def test_several_labels_are_targets_of_0_and_1(tmp_path: Path) -> None:
    table = read_table(table_of(tmp_path, "path,label\n1,b\n2,c; a\n3,a\n"), key="data.numbers")
    labels = table.labels([0, 1, 2])
    assert (labels.names, labels.several, labels.targets.dtype) == (("a", "b", "c"), True, torch.float32)
    assert labels.targets.tolist() == [[0, 1, 0], [1, 0, 1], [1, 0, 0]]
    assert labels.counts().tolist() == [2, 1, 1]
    # rows with one label each have the same kind of targets
    assert table.labels([2]).targets.tolist() == [[1, 0, 0]]


def test_what_is_written_is_read_again_names_that_are_not_utf8_included(tmp_path: Path) -> None:
    rows = [(os.fsdecode(b"caf\xe9, 1.num"), "a", "train"), ("2.num", 'the "b"', "val")]
    write_table(tmp_path / "list.csv", iter(rows))
    table = read_table(str(tmp_path / "list.csv"), key="data.numbers")
    assert table.splits is not None
    assert list(zip(table.paths, table.classes, table.splits, strict=True)) == rows
    assert os.fsencode(table.paths[0]) == b"caf\xe9, 1.num"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", r"line 1: the columns are ''; they must be path,label or path,label,split"),
        ("file,class\nx,a\n", r"line 1: the columns are 'file,class'"),
        ("path,label,size\nx,a,3\n", r"line 1: the columns are 'path,label,size'"),
        ("path,label,label\nx,a,b\n", r"line 1: "),
        ("path;label\nx;a\n", r"line 1: the columns are 'path;label'"),
        ("path,label\n", r"lists no files"),
        ("path,label\nx,a\ny\n", r"line 3: the number of values is 1, but there are 2 columns"),
        ("path,label\nx, y,a\n", r"line 2: the number of values is 3, but there are 2 columns"),
        ("path,label\nx,a\n\n,a\n", r"line 4: the path is missing"),
        ("path,label\nx,a\ny, \n", r"line 3: the label is missing"),
        ("path,label,split\nx,a,train\ny,a,\n", r"line 3: the split is missing"),
        ("path,label\nx,a\ny,a;;b\n", r"line 3: the labels are 'a;;b'"),
        ("path,label\nx,a;b;a\n", r"line 2: the labels are 'a;b;a'"),
        ('path,label\nx,"a\n', r"line 2: it is not CSV: "),
    ],
)
def test_the_line_of_a_mistake_is_named(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/list\.csv.*{problem}|{tmp_path}/list\.csv {problem}"):
        read_table(table_of(tmp_path, text), key="data.numbers")

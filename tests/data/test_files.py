"""One file of data before anything reads it."""

import os
from pathlib import Path

import pytest

from mae_core.data.files import one_line, read_content, require_content
from mae_core.interfaces import BadSample


def test_content_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_content(tmp_path / "link") == b"abc"
    assert require_content(tmp_path / "link") == str(tmp_path / "link")


def test_what_holds_nothing_to_read_is_a_bad_sample_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("empty", "the file is empty"),
        ("pipe", "a pipe"),
        (".", "it is a folder"),
        ("none", "No such file or directory"),
        ("a\0b", "null"),
    ):
        with pytest.raises(BadSample) as caught:
            read_content(f"{tmp_path}/{name}")
        assert str(caught.value).startswith(f"{tmp_path}/{name}: ")
        assert reason in str(caught.value)


def test_an_error_on_one_line() -> None:
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(MemoryError()) == "MemoryError"

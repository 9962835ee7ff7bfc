"""`mae verify`: what it compares, where the numbers come from, and what it says of numbers that it cannot use."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from golden_files import change_one_number

from mae_core.cli import main

Verify = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verify(capfd: pytest.CaptureFixture[str]) -> Verify:
    """`mae verify` in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["verify", *map(str, arguments)])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the file of numbers that the certificate `multimae` reads."""
    shipped = resources.files("mae_image") / "published" / "multimae.safetensors"
    (tmp_path / "multimae.safetensors").write_bytes(shipped.read_bytes())
    (tmp_path / "notes.txt").write_text("not a file of numbers")
    return tmp_path


def test_it_prints_every_check(verify: Verify) -> None:
    code, out, err = verify("image", "multimae", "--json")
    assert code == 0, err
    checks = json.loads(out)
    assert all(check["passed"] for check in checks)
    found = {(check["certificate"], check["name"]) for check in checks}
    assert {("image", "forward: loss"), ("image", "training: final weights"), ("multimae", "forward: depth")} <= found


def test_it_fails_when_the_code_differs(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mae_core.parts.pixels.EPS", 1e-3)
    code, out, err = verify("multimae")
    assert code == 1
    assert "DIFFERS" in out
    assert "2 of 8 checks differ" in err


def test_files_in_a_folder_replace_those_that_ship(verify: Verify, folder: Path) -> None:
    code, out, err = verify("multimae", "--numbers", folder)
    assert code == 0, err
    assert f"read from {folder}: multimae.safetensors\n" in err
    assert "DIFFERS" not in out
    change_one_number(folder / "multimae.safetensors", "preds/rgb", by=1e-4)
    code, out, _ = verify("multimae", "--numbers", folder, "--json")
    assert code == 1
    assert [check["name"] for check in json.loads(out) if not check["passed"]] == ["forward: rgb"]


def test_a_folder_that_replaces_nothing_is_an_error(verify: Verify, folder: Path) -> None:
    code, out, err = verify("--numbers", folder / "nowhere")
    assert (code, out) == (1, "")
    assert f"{folder / 'nowhere'}: there is no such folder" in err
    (folder / "multimae.safetensors").rename(folder / "multi_mae.safetensors")
    code, out, err = verify("--numbers", folder, "multimae")
    assert (code, out) == (1, "")
    assert "no file in it has a name that multimae would read" in err
    assert "mae.safetensors" in err


def test_a_file_that_cannot_be_used_is_named(verify: Verify, folder: Path) -> None:
    (folder / "multimae.safetensors").write_bytes(b"no numbers at all")
    code, _, err = verify("multimae", "--numbers", folder)
    assert code == 1
    assert f"{folder / 'multimae.safetensors'} is damaged" in err
    assert "certificate 'multimae' of plugin 'image'" in err


def test_an_unknown_name_gives_the_nearest(verify: Verify) -> None:
    code, _, err = verify("multima")
    assert code == 1
    assert "Did you mean 'multimae'?" in err

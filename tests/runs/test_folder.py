"""Where runs write."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mae_core.runs.checkpoint import Checkpoint, list_checkpoints, save_checkpoint
from mae_core.runs.folder import choose_folder, clear, give_back, require_free
from mae_registry import MaeError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def choose(recipe: str = "demo/image", *, resume: bool = False) -> str:
    return str(choose_folder(recipe, None, resume=resume, overwrite=False))


def test_runs_are_numbered_also_where_several_start_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        chosen = list(pool.map(lambda _: choose(), range(8)))
    assert sorted(chosen) == ["runs/demo-image", *(f"runs/demo-image-{number}" for number in range(2, 9))]
    assert choose("demo/video") == "runs/demo-video"


def test_the_last_run_that_began_is_resumed() -> None:
    with pytest.raises(MaeError, match="there is no run to resume"):
        choose(resume=True)
    for _ in range(3):
        last = Path(choose())
        (last / "config.yaml").touch()
    choose()
    assert choose(resume=True) == str(last) == "runs/demo-image-3"


def test_a_run_that_was_killed_in_its_first_file_can_be_started_again(tmp_path: Path) -> None:
    half = tmp_path / ".config.yaml.x7"
    half.write_text("half")
    require_free(tmp_path, overwrite=False)
    clear(tmp_path)
    assert not half.exists()


def test_a_folder_is_given_back_unless_something_was_written() -> None:
    empty, used = Path(choose()), Path(choose())
    (used / "config.yaml").touch()
    for folder in (empty, used):
        give_back(folder)
    assert (empty.exists(), used.exists()) == (False, True)
    (used / "config.yaml").unlink()
    give_back(used)
    assert not Path("runs").exists()


def test_a_full_disk_is_told_with_the_space_that_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import resource
    import signal

    import torch

    checkpoint = Checkpoint(1, "", {"weight": torch.zeros(2**20)}, {}, {})
    save_checkpoint(tmp_path, checkpoint, keep=1)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(MaeError, match=r"cannot write \S+step-00000002\.pt"):
            save_checkpoint(tmp_path, Checkpoint(2, "", checkpoint.model, {}, {}), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001.pt"]
    assert len(list_checkpoints(tmp_path)) == 1

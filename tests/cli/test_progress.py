"""The progress display: everything on one line of a terminal, few plain lines in a log, the right time left."""

import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from mae_core.cli.progress import TrainingProgress, duration, in_words


@pytest.fixture
def pass_seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = 5000.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("mae_core.cli.progress.time.monotonic", lambda: now)
    return advance


def terminal(width: int = 80) -> Console:
    return Console(file=StringIO(), force_terminal=True, force_interactive=True, width=width, color_system=None)


def log() -> Console:
    return Console(file=StringIO(), force_terminal=False, width=80)


def written(console: Console) -> list[str]:
    """All lines that were ever shown, without the control codes."""
    assert isinstance(console.file, StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]  # a bar is erased before it is redrawn


def test_a_terminal_of_80_columns_shows_everything_on_one_line(pass_seconds: Callable[[float], None]):
    console = terminal()
    with TrainingProgress(500_000, 800, first_step=250_000, console=console) as progress:
        progress.update(step=250_001, epoch=401, loss=0.4321, samples_per_s=12345.6)
        pass_seconds(0.2)
        progress.update(step=250_002, epoch=401, loss=0.4321, samples_per_s=12345.6)
    last = written(console)[-1]
    assert len(last) <= 80
    assert re.fullmatch(r"epoch 401/800 ━+ +250002/500000 loss 0\.4321 12346 samples/s 0:00, 13h53m left", last)
    assert all(line.startswith(("epoch 401/800", "starting")) for line in written(console)), "a wrapped line"


def test_how_long_it_takes_in_all_is_said_once(pass_seconds: Callable[[float], None]):
    console = terminal()
    with TrainingProgress(1000, 10, console=console) as progress:
        for step in range(1, 30):
            pass_seconds(1)
            progress.update(step=step, epoch=1, loss=0.5, samples_per_s=8)
    assert [line for line in written(console) if "in all" in line] == ["this takes about 17 minutes in all"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(120, "2 minutes"), (5340, "89 minutes"), (5500, "2 hours"), (47 * 3600, "47 hours"), (60 * 3600, "2 days")],
)
def test_durations_in_words(seconds: float, words: str):
    assert in_words(seconds) == words


def test_what_does_not_fit_is_cut_and_never_wrapped():
    console = terminal(width=40)
    with TrainingProgress(500_000, 800, console=console) as progress:
        progress.update(step=250_000, epoch=400, loss=0.4321, samples_per_s=12345.6)
    assert all(line.startswith(("epoch", "starting")) and len(line) <= 40 for line in written(console))


def test_the_bar_takes_the_room_that_is_left():
    bars = {}
    for width in (80, 120):
        console = terminal(width)
        with TrainingProgress(10, 1, console=console) as progress:
            progress.update(step=10, epoch=1, loss=1.0, samples_per_s=1.0)
        bars[width] = written(console)[-1].count("━")
    assert bars[120] - bars[80] == 40


def test_before_the_first_step_a_resumed_run_says_where_it_is():
    console = terminal()
    with TrainingProgress(100, 4, first_step=75, console=console):
        pass
    last = written(console)[-1]
    assert re.fullmatch(r"starting ━+[╸ ] +75/100 0:00,", last)
    assert last.count("━") / (last.index("75/100") - len("starting  ")) == pytest.approx(0.75, abs=0.02)


def test_messages_stand_above_the_bar():
    console = terminal()
    with TrainingProgress(10, 1, console=console) as progress:
        progress.update(step=1, epoch=1, loss=1.0, samples_per_s=1.0)
        progress.message("wrote [bold]a checkpoint")
    lines = written(console)
    assert "wrote [bold]a checkpoint" in lines[:-1]
    assert lines[-1].startswith("epoch 1/1")


def test_a_log_gets_a_line_every_ten_seconds_and_the_last(pass_seconds: Callable[[float], None]):
    console = log()
    with TrainingProgress(13, 2, console=console) as progress:
        for step in range(1, 14):
            pass_seconds(4)
            progress.update(step=step, epoch=1 + step // 8, loss=2.0, samples_per_s=8.0)
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue().splitlines() == [
        "epoch 1/2, step 1/13, loss 2.0000, 8 samples/s, 0:04 elapsed, ? left",
        "epoch 1/2, step 4/13, loss 2.0000, 8 samples/s, 0:16 elapsed, 0:36 left",
        "epoch 1/2, step 7/13, loss 2.0000, 8 samples/s, 0:28 elapsed, 0:24 left",
        "epoch 2/2, step 10/13, loss 2.0000, 8 samples/s, 0:40 elapsed, 0:12 left",
        "epoch 2/2, step 13/13, loss 2.0000, 8 samples/s, 0:52 elapsed, 0:00 left",
    ]


def test_a_log_gets_the_last_line_of_a_run_that_fails(pass_seconds: Callable[[float], None]):
    console = log()

    def fail_after_two_steps() -> None:
        with TrainingProgress(10, 1, console=console) as progress:
            progress.update(step=1, epoch=1, loss=2.0, samples_per_s=8.0)
            pass_seconds(1)
            progress.update(step=2, epoch=1, loss=2.0, samples_per_s=8.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_two_steps()
    assert [line.split(",")[1] for line in written(console)] == [" step 1/10", " step 2/10"]


def test_time_left_is_of_this_session_and_leaves_its_first_step_out(pass_seconds: Callable[[float], None]):
    console = log()
    with TrainingProgress(1000, 10, first_step=900, console=console) as progress:
        pass_seconds(300)  # compiling
        progress.update(step=901, epoch=10, loss=1.0, samples_per_s=1.0)
        for step in range(902, 911):
            pass_seconds(2)
            progress.update(step=step, epoch=10, loss=1.0, samples_per_s=1.0)
    assert written(console)[-1].endswith("step 910/1000, loss 1.0000, 1 samples/s, 5:18 elapsed, 3:00 left")


def test_the_loss_is_smoothed_without_a_start_at_zero():
    console = log()
    with TrainingProgress(2, 1, console=console) as progress:
        progress.update(step=1, epoch=1, loss=1.0, samples_per_s=1.0)
        progress.update(step=2, epoch=1, loss=2.0, samples_per_s=1.0)
    first, last = (float(re.search(r"loss ([\d.]+)", line)[1]) for line in written(console))  # type: ignore[index]
    assert first == 1.0
    assert last == pytest.approx((0.95 * 1 + 2) / 1.95, abs=1e-4)


def test_durations_are_short():
    days = 24 * 3600
    assert [duration(s) for s in (0, 59.6, 3599, 3600, days - 60, days, 100 * days - 1)] == [
        "0:00",
        "1:00",
        "59:59",
        "1h00m",
        "23h59m",
        "1d00h",
        "99d23h",
    ]


def test_showing_progress_needs_no_torch():
    code = "import sys, mae_core.cli.progress; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"

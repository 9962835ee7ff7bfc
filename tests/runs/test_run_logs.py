"""The metric log and the list of bad samples: what they write, and that a resume leaves no trace of the interruption."""

import json
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from forks import Forks
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mae_core.runs.logs import BadSampleLog, MetricLog, cut_back, read_json_lines, read_metrics
from mae_registry import MaeError


def without_time(entries: Iterable[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in entry.items() if name != "wall_s"} for entry in entries]


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_every_step_is_one_line_and_one_event(tmp_path: Path):
    with MetricLog(tmp_path, print) as log:
        log.log(1, epoch=1, loss=0.1, lr=1e-4, samples_per_s=12.5)
        log.log(2, epoch=1, loss=0.5, lr=2e-4, samples_per_s=25.0)
    first, second = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert list(first) == ["step", "epoch", "loss", "lr", "samples_per_s", "wall_s"]
    assert without_time([second]) == [{"step": 2, "epoch": 1, "loss": 0.5, "lr": 2e-4, "samples_per_s": 25.0}]
    assert scalars(tmp_path, "samples_per_s") == [(1, 12.5), (2, 25.0)]


def test_a_line_can_be_read_before_the_log_is_closed(tmp_path: Path):
    with MetricLog(tmp_path, print) as log:
        log.log(1, loss=0.5)
        assert read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == 0.5
        assert scalars(tmp_path, "loss") == [(1, 0.5)]


def test_resume_cuts_back_to_the_checkpoint(tmp_path: Path):
    with MetricLog(tmp_path, print) as log:
        for step in range(1, 8):
            log.log(step, loss=float(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    with MetricLog(tmp_path, print, from_step=5) as log:
        for step in range(6, 9):
            log.log(step, loss=step + 0.5)
    assert without_time(read_metrics(tmp_path / "metrics.jsonl")) == [
        *({"step": step, "loss": float(step)} for step in range(1, 6)),
        *({"step": step, "loss": step + 0.5} for step in range(6, 9)),
    ]
    assert scalars(tmp_path, "loss") == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6.5), (7, 7.5), (8, 8.5)]


def test_a_new_run_does_not_continue_the_old_file(tmp_path: Path):
    with MetricLog(tmp_path, print) as log:
        log.log(1, loss=1.0)
        log.log(2, loss=2.0)
    with MetricLog(tmp_path, print) as log:
        log.log(1, loss=3.0)
    assert without_time(read_metrics(tmp_path / "metrics.jsonl")) == [{"step": 1, "loss": 3.0}]
    assert scalars(tmp_path, "loss") == [(1, 3.0)]


def test_wall_time_goes_on_where_the_checkpoint_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr("mae_core.runs.logs.time.monotonic", lambda: now)
    with MetricLog(tmp_path, print) as log:
        now += 10
        log.log(1, loss=1.0)
        now += 100
        log.log(2, loss=1.0)
    now = 5.0  # another process, another clock
    with MetricLog(tmp_path, print, from_step=1) as log:
        now += 2
        log.log(2, loss=1.0)
    assert [entry["wall_s"] for entry in read_metrics(tmp_path / "metrics.jsonl")] == [10.0, 12.0]


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_when_read(tmp_path: Path):
    with MetricLog(tmp_path, print) as log:
        log.log(1, loss=math.nan, grad_norm=math.inf)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["loss"] is None
    assert line["grad_norm"] is None
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert metrics.names == ["loss", "grad_norm", "wall_s"]
    assert len(metrics.points("loss")) == 0


def test_numbers_are_kept_where_they_were_recorded(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "a": 1}\n{"step": 5, "b": 0.5}\n{"step": 6, "a": null, "b": 0.25}\n{"step": 9, "a": 3}\n')
    metrics = read_metrics(path)
    found = {name: (metrics.points(name).steps.tolist(), metrics.points(name).values.tolist()) for name in ("a", "b", "c")}
    assert found == {"a": ([2, 9], [1, 3]), "b": ([5, 6], [0.5, 0.25]), "c": ([], [])}
    assert list(metrics) == [{"step": 2, "a": 1}, {"step": 5, "b": 0.5}, {"step": 6, "b": 0.25}, {"step": 9, "a": 3}]
    assert metrics[-1] == {"step": 9, "a": 3}


@pytest.mark.parametrize("value", ['"0.5"', "[1]"])
def test_what_is_not_a_number_is_told(tmp_path: Path, value: str):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "loss": {value}}}\n')
    with pytest.raises(MaeError, match=r"metrics\.jsonl is damaged: it has a value that is not a number"):
        read_metrics(path)


def test_long_logs_are_read_and_cut_back_in_little_memory(tmp_path: Path):
    """8 bytes a number, and 8 for the step."""
    path = tmp_path / "metrics.jsonl"
    num_entries = 20_000
    path.write_text("".join(f'{{"step": {step}, "loss": {step / 7}, "lr": 0.1}}\n' for step in range(1, num_entries + 1)))
    for read in (lambda: read_metrics(path), lambda: cut_back(path, step=num_entries - 1)):
        tracemalloc.start()
        kept = read()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * 3 * 8 * num_entries, kept


def test_steps_must_ascend(tmp_path: Path):
    with MetricLog(tmp_path, print, from_step=4) as log, pytest.raises(AssertionError, match="step 4 is logged after step 4"):
        log.log(4, loss=1.0)


def test_a_damaged_line_is_named(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    for damaged in ('{"step": 2, "lo', "3", '{"loss": 1.0}', ""):
        path.write_text(f'{{"step": 1}}\n{damaged}\n{{"step": 3}}\n')
        with pytest.raises(MaeError) as caught:
            read_metrics(path)
        assert f"{path}, line 2 is damaged: {damaged!r}." in str(caught.value)
        with pytest.raises(MaeError, match="line 2 is damaged"):
            cut_back(path, step=3)


@given(end=st.integers(min_value=0), num_kept=st.integers(0, 5), tail=st.sampled_from([b"", b"\x00" * 40, b"\xc3"]))
def test_a_log_torn_anywhere_loses_only_the_torn_line(tmp_path_factory: pytest.TempPathFactory, end, num_kept, tail):
    path = tmp_path_factory.mktemp("torn") / "log.jsonl"
    lines = [f'{{"step": {step}, "loss": {step / 7}}}\n' for step in range(1, 5)]
    whole = "".join(lines).encode()
    end %= len(whole) + 1
    path.write_bytes(whole[:end] + tail)
    num_whole = whole[:end].count(b"\n") + (whole[end : end + 1] == b"\n" and tail == b"")
    assert [entry["step"] for entry in read_json_lines(path)] == list(range(1, num_whole + 1))
    cut_back(path, step=num_kept)
    kept = "".join(lines[: min(num_kept, num_whole)])
    assert (path.read_text() if path.exists() else "") == kept
    assert set(path.parent.iterdir()) <= {path}


def test_no_file_is_no_entries(tmp_path: Path):
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 0


def test_bad_samples_are_listed_counted_and_cut_back(tmp_path: Path):
    path = tmp_path / "bad_samples.jsonl"
    log = BadSampleLog(tmp_path, print)
    assert log.count == 0
    assert not path.exists()
    log.log(3, epoch=1, sample="a/é.jpg", replaced_by="b.jpg", reason="truncated\nfile")
    log.log(9, epoch=2, sample="c.jpg", replaced_by="d.jpg", reason="empty")
    assert log.count == 2
    resumed = BadSampleLog(tmp_path, print, from_step=8)
    assert resumed.count == 1
    assert list(read_json_lines(path)) == [
        {"step": 3, "epoch": 1, "sample": "a/é.jpg", "replaced_by": "b.jpg", "reason": "truncated\nfile"}
    ]
    assert BadSampleLog(tmp_path, print, from_step=2).count == 0
    assert not path.exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from mae_core.runs.logs import BadSampleLog, MetricLog

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, told = Path(FOLDER), []
bad = BadSampleLog(folder, told.append)
with MetricLog(folder, told.append) as log:
    log.log(1, loss=0.5)
    bad.log(1, epoch=1, sample="a" * 60, replaced_by="b", reason="c")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))  # every file ends in the middle of a record
    for step in range(2, 20):
        log.log(step, loss=0.25)
        bad.log(step, epoch=1, sample="a" * 60, replaced_by="b", reason="c")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.log(20, loss=0.125)
print(*told, sep="\\n")
"""


def test_what_cannot_be_written_leaves_gaps_that_are_told_once(forks: Forks, tmp_path: Path):
    done = forks.python(FULL_DISK.replace("FOLDER", repr(str(tmp_path))))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = done.stdout.splitlines()
    assert len(told) == 3
    for name in ("metrics.jsonl", "bad_samples.jsonl", "tfevents"):
        assert sum(name in line and "File too large" in line for line in told) == 1
    steps = [entry["step"] for entry in read_metrics(tmp_path / "metrics.jsonl")]
    assert steps[0] == 1
    assert steps[-1] == 20
    assert len(steps) < 20
    assert scalars(tmp_path, "loss")[-1] == (20, 0.125)
    assert len(list(read_json_lines(tmp_path / "bad_samples.jsonl"))) == 1


def test_reading_metrics_needs_neither_torch_nor_tensorboard():
    code = "import sys, mae_core.runs.logs; print({'torch', 'tensorboard'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True).stdout == "set()\n"

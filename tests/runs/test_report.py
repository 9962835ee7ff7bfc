"""The report of a run: one page that needs nothing else, shows what was there, and says what was not."""

import base64
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import Page

from mae_core.runs.curves import MAX_POINTS, draw_curve, short, smooth, thin, ticks
from mae_core.runs.lock import run_lock
from mae_core.runs.logs import BadSampleLog
from mae_core.runs.metrics import Points
from mae_core.runs.report import write_report
from mae_registry import MaeError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("model: {encoder: {name: vit}}\n")
    return tmp_path


def write_steps(folder: Path, losses: list[float | None], **more: float) -> None:
    entries = [
        {
            "step": step,
            "epoch": 1 + step // 100,
            "loss": loss,
            "lr": 1e-4,
            "samples_per_s": 80.0 + step % 3,
            "wall_s": step * 0.5,
        }
        for step, loss in enumerate(losses, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps({**entry, **more}) + "\n" for entry in entries))


def add_picture(folder: Path, name: str, content: bytes) -> None:
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / name).write_bytes(content)


def test_the_summary_is_one_line(run: Path):
    write_steps(run, [1.0] * 100 + [0.25] * 200)
    page = Page(write_report(run))
    assert "300 steps · epoch 4 · loss 1 → 0.25 · 81 samples/s (median) · 2 min of training" in page.text


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(run: Path):
    write_steps(run, [1.0, 0.5])
    add_picture(run, "step-00000002.png", b"png")
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path)
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in page.all("meta")
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        assert "href" not in attributes
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
    assert "url(" not in path.read_text()
    assert "@import" not in path.read_text()


def test_everything_read_from_files_is_escaped(tmp_path: Path):
    nasty = "</pre></style><script>alert('\"&')</script>"
    folder = tmp_path / "<b>run"
    folder.mkdir()
    (folder / "config.yaml").write_text(nasty)
    facts = {"recipe": nasty, "status": nasty, nasty: nasty, "plugins": {nasty: [nasty]}}
    (folder / "run.json").write_text(json.dumps(facts))
    BadSampleLog(folder, print).log(1, epoch=1, sample=nasty, replaced_by=nasty, reason=nasty)
    add_picture(folder, "step-1<b>.png", b"png")
    page = Page(write_report(folder))
    assert page.all("script") == page.all("b") == []
    # 2 titles, the status, the configuration, 3 cells of the bad sample, and 6 in the environment
    assert page.text.count(nasty) == 13


def test_a_file_name_that_is_not_unicode_does_not_stop_the_report(run: Path):
    BadSampleLog(run, print).log(1, epoch=1, sample="caf\udce9.jpg", replaced_by="b", reason="c")
    assert "caf?.jpg" in Page(write_report(run)).text


def test_the_newest_picture_is_first_and_six_earlier_ones_are_spread_over_the_run(run: Path):
    write_steps(run, [step / 100 for step in range(1, 101)])
    for step in range(0, 101, 10):
        add_picture(run, f"step-{step:08}.png", f"picture {step}".encode())
    page = Page(write_report(run))
    pictures = [base64.b64decode((attributes["src"] or "").partition(",")[2]).decode() for attributes in page.all("img")]
    assert pictures == ["picture 100", "picture 0", "picture 20", "picture 40", "picture 50", "picture 70", "picture 90"]
    assert "step 100, loss 1" in page.text
    assert "6 of 10 earlier steps" in page.text
    assert page.all("img")[1]["alt"] == "step-00000000.png: step 0"


def test_pictures_of_the_newest_step_stay_together_and_steps_are_numbers(run: Path):
    for name in ("step-9-one.png", "step-10-one.png", "step-10-two.png", "other.png"):
        add_picture(run, name, name.encode())
    page = Page(write_report(run))
    names = [(attributes["alt"] or "").partition(":")[0] for attributes in page.all("img")]
    assert names == ["step-10-one.png", "step-10-two.png", "step-9-one.png"]


def test_bad_samples_are_counted_and_the_first_twenty_listed(run: Path):
    log = BadSampleLog(run, print)
    for i in range(25):
        log.log(i + 1, epoch=1, sample=f"sample-{i}.jpg", replaced_by=f"other-{i}.jpg", reason="truncated")
    text = Page(write_report(run)).text
    assert "25 samples could not be read" in text
    assert re.findall(r"sample-(\d+)", text) == [str(i) for i in range(20)]


def test_all_facts_of_the_run_are_shown(run: Path):
    facts = {
        "recipe": "demo/tiny",
        "status": "finished",
        "num_parameters": 1234567,
        "packages": {"torch": "2.11.0"},
        "resumed": True,
    }
    (run / "run.json").write_text(json.dumps(facts))
    page = Page(write_report(run))
    for shown in ("demo/tiny", "finished", "num parameters", "1,234,567", "torch", "2.11.0", "True"):
        assert shown in page.text


def test_a_long_list_of_facts_is_cut_short_and_counted(run: Path):
    (run / "run.json").write_text(json.dumps({"names": [f"name-{i}" for i in range(4096)]}))
    text = Page(write_report(run)).text
    assert re.findall(r"name-(\d+)", text) == [str(i) for i in range(20)]
    assert "and 4,076 more" in text


def test_a_run_without_steps_still_has_a_report(run: Path):
    text = Page(write_report(run)).text
    for shown in ("No steps yet", "No pictures yet", "None.", "Not recorded.", run.name):
        assert shown in text
    (run / "metrics.jsonl").write_text("")
    assert "No steps yet" in Page(write_report(run)).text


@pytest.mark.parametrize("losses", [[0.5], [None], [None, 0.5, None], [0.0, 0.0], [-1e-7, 1e9]])
def test_odd_losses_are_drawn(run: Path, losses: list[float | None]):
    write_steps(run, losses)
    html = write_report(run).read_text()
    assert "nan" not in html
    assert "inf" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)


def test_a_folder_that_is_not_a_run_is_refused_with_what_is_missing(tmp_path: Path):
    with pytest.raises(
        MaeError, match=r"is not the folder of a run: it has no config\.yaml\. Give the folder that `mae pretrain` wrote"
    ):
        write_report(tmp_path)
    with pytest.raises(MaeError, match="it does not exist"):
        write_report(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "cause"), [("{", "Expecting property name"), ("[1]", "it holds a list, not an object")])
def test_damaged_facts_are_named(run: Path, content: str, cause: str):
    (run / "run.json").write_text(content)
    with pytest.raises(MaeError, match=r"run\.json is damaged: " + cause):
        write_report(run)


def curve(values: Sequence[float], *, first: int = 1) -> Points:
    return Points(np.arange(first, first + len(values)), np.array(values))


def test_a_long_curve_is_thinned_and_its_spike_is_counted():
    values = [1.0 + step % 7 / 100 for step in range(1, 20_001)]
    values[5000] = 100.0
    figure = draw_curve("Loss", curve(values), smoothed=True)
    paths = re.findall(r'class="(?:raw|bold)" d="M([^"]+)"', figure)
    assert [1 < len(path.split("L")) <= MAX_POINTS for path in paths] == [True, True]
    assert "far off and not shown: 1" in figure
    assert re.findall(r'class="y"[^>]*>([^<]+)', figure)[-1] == "1.15"  # where the running mean over the spike is
    assert "far off" not in draw_curve("Loss", curve(values[:5000]), smoothed=True)


def test_the_last_value_is_labelled_where_the_curve_ends():
    figure = draw_curve("Loss", curve([2.0, 1.0, 0.5]))
    assert '<span class="last" style="left:100.00%;top:96.30%">0.5</span>' in figure
    assert re.findall(r'class="x"[^>]*>([^<]+)', figure) == ["1", "2", "3"]
    assert re.findall(r'class="y"[^>]*>([^<]+)', figure) == ["0.5", "1.0", "1.5", "2.0"]
    assert 'aria-label="Loss: 2 at step 1, 0.5 at step 3"' in figure


def test_from_zero_shows_zero():
    assert re.findall(r'class="y"[^>]*>([^<]+)', draw_curve("lr", curve([1e-4, 1.5e-4]), from_zero=True)) == [
        "0",
        "5e-5",
        "1e-4",
        "1.5e-4",
    ]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.sampled_from([10, 50, 1000]))
def test_thinning_keeps_ends_extremes_and_order(values: list[float], limit: int):
    points = list(enumerate(values))
    thinned = thin(curve(values, first=0), limit)
    kept = list(zip(thinned.steps.tolist(), thinned.values.tolist(), strict=True))
    assert len(kept) <= limit
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert sorted(set(kept)) == list(kept)
    assert {min(values), max(values)} <= {value for _, value in kept}


@given(st.floats(-1e5, 1e5), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low: float, distance: float):
    high = low + distance
    values = ticks(low, high)
    assert 2 <= len(values) <= 6
    apart = (values[-1] - values[0]) / (len(values) - 1)
    assert float(f"{apart / 10 ** math.floor(math.log10(apart) + 1e-6):.3g}") in (1, 2, 5)
    assert low - 1e-3 * apart <= values[0]
    assert values[-1] <= high + 1e-3 * apart


def test_smoothing_starts_at_the_first_value_keeps_a_line_and_removes_noise():
    assert smooth(np.array([3.0, 1.0, 2.0])).tolist() == [3.0, 1.0, 2.0]
    line = np.arange(1000.0)
    assert smooth(line)[:900].tolist() == line[:900].tolist()
    noisy = smooth((-1.0) ** np.arange(1000))
    assert noisy[0] == 1.0
    assert max(abs(value) for value in noisy[100:]) < 0.05


def test_short_numbers():
    assert [short(value) for value in (0.0, 0.43211, 1.5e-4, 12345.6, 81.0)] == ["0", "0.4321", "1.5e-4", "12,346", "81"]


def test_a_run_whose_process_is_gone_is_not_said_to_be_running(run: Path):
    (run / "run.json").write_text(json.dumps({"status": "running"}))
    with run_lock(run):
        assert Page(write_report(run)).text.count("running") == 2
    text = Page(write_report(run)).text
    assert "ended without a word" in text
    assert "running" not in text


def test_every_other_number_of_a_step_has_a_curve(run: Path):
    lines = [{"step": step, "loss": 1.0, "grad_norm": 2.0, "loss/<b>": 0.5} for step in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = Page(write_report(run))
    for title in ("Loss", "Learning rate", "Samples per second", "grad_norm", "loss/<b>"):
        assert title in page.text


def test_sounds_and_moving_pictures_of_the_last_step_are_inside_the_page(run: Path):
    pictures, last = run / "pictures", "step-00000002-sound"
    add_picture(run, f"{last}.png", b"png")
    (pictures / f"{last}.gif").write_bytes(b"GIF89a-moves")
    (pictures / f"{last}-1-original.wav").write_bytes(b"RIFF-sounds")
    (pictures / f"{last}-2-long.wav").write_bytes(bytes(2**23))
    page = write_report(run).read_text()
    assert f'<img alt="{last}.gif" src="data:image/gif;base64,{base64.b64encode(b"GIF89a-moves").decode()}"' in page
    assert (
        f'<audio class="player" controls preload="none" src="data:audio/wav;base64,{base64.b64encode(b"RIFF-sounds").decode()}"'
        in page
    )
    assert f"{last}-2-long.wav is too large for this page" in page
    assert "media-src data:" in page
    assert len(page) < 2**22

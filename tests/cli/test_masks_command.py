"""`mae masks` and `mae masks show`: what they say and draw of maskers."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from mae_core import Grid, load_config
from mae_core.cli.reconstruct import _with_ratio
from mae_core.config.operators import OPERATORS
from mae_core.pictures.mask_samples import curve
from mae_core.pictures.mask_subjects import find_subjects, one_line, parse_grid
from mae_core.registry import registry
from mae_registry import ConfigError, MaeError

VISIBLE, HIDDEN, VISIBLE_PREDICTED, NEITHER = (29, 78, 137), (242, 180, 90), (138, 90, 158), (228, 231, 236)
MASKERS = """\
maskers:
  tube90: {name: random, over: [h, w], ratio: 0.9}
  ramp: {schedule: random, ratio: {from: 0.25, to: 0.75}}
  mixed: {one_of: [{masker: tube90, weight: 3}, {name: block, ratio: 0.5}]}
"""
VIDEO = f"""\
extends: video/videomae_base
{MASKERS}model:
  modalities:
    video: {{masker: tube90}}
"""


@pytest.fixture
def mae(mae, monkeypatch):
    """As elsewhere, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return mae


@pytest.fixture
def show(mae):
    """`mae masks show`: what it prints."""

    def run(*arguments):
        code, out, err = mae("masks", "show", *arguments)
        assert code == 0, err
        assert err == ""
        assert "\x1b" not in out
        return out

    return run


def facts(show, *arguments):
    return json.loads(show(*arguments, "--json"))


def count(path, colour):
    """Pixels of a picture that have exactly this colour."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return int((pixels == np.array(colour)).all(axis=-1).sum())


# ---- the list


def test_the_list_has_every_masker_and_operator_with_its_parameters(mae):
    code, out, _ = mae("masks")
    assert code == 0
    assert max(map(len, out.splitlines()[:-1])) <= 80
    for name in registry().names("maskers"):
        assert re.search(rf"^{name}  \({registry().get('maskers', name).plugin}\)$", out, re.M), name
    for name, operator in OPERATORS.items():
        assert f"\n{name}: {operator.operand.written}  (core)\n" in out
    one_line = " ".join(out.split())
    assert "ratio a number greater than 0 and less than 1; must be given" in one_line
    assert 'per "batch" or "sample"; default "batch"' in one_line
    assert "Uniform random masking (He et al. 2022, section 3)" in one_line


def test_the_list_for_programs(mae):
    code, out, _ = mae("masks", "--json")
    assert code == 0
    found = {masker["name"]: masker for masker in json.loads(out)}
    assert set(found) == {*registry().names("maskers"), *OPERATORS}
    assert found["grid"] == {
        "name": "grid",
        "plugin": "core",
        "about": "Keep one of every `every` positions along each axis: 2 on a 2-D grid hides 75%, as in the paper.",
        "parameters": {"every": {"allowed": "a whole number at least 2", "required": False, "default": 2}},
    }
    assert found["random"]["parameters"]["ratio"]["required"] is True
    assert found["running_cell"]["plugin"] == "video"
    assert found["invert"]["operands"] == "MASKER"


# ---- what is shown


@pytest.mark.parametrize(
    ("what", "grid"),
    [
        ("{name: random, ratio: 0.5}", "h=14 w=14"),
        ("{name: random, ratio: 0.5, over: [h, w]}", "t=8 h=14 w=14"),
        ("{name: random, ratio: 0.5, over: [t]}", "t=8 h=14 w=14"),
        ("{name: random, ratio: 0.5, over: [f]}", "t=64 f=8"),
        ("{any: [{name: random, ratio: 0.5, over: [t]}, {name: random, ratio: 0.5, over: [f]}]}", "t=64 f=8"),
        ("{name: running_cell, ratio: 0.9}", "t=8 h=14 w=14"),
        ("grid", "h=14 w=14"),
    ],
)
def test_a_grid_is_found_that_has_the_axes(what, grid):
    (subject,) = find_subjects(what)
    assert str(subject.grid) == grid
    assert subject.grid_from == "a default"


def test_a_name_takes_its_parameters_from_the_words_after_it(show):
    out = show("random", "ratio=0.9", "over=[h, w]", "--grid", "t=2,h=10,w=10", "--draws", 7, "--seed", 3)
    assert out.startswith("random: {name: random, ratio: 0.9, over: [h, w]}\n")
    assert "grid t=2 h=10 w=10 (given; h down, w right); 7 draws in batches of 1, seed 3" in out
    assert "hidden 182 of 200 (91.0%), kept 18" in out


@pytest.mark.parametrize(
    ("section", "written"),
    [
        ("{name: random, ratio: 0.75, over: null, truncate: kept}", "{name: random, ratio: 0.75}"),
        ("{name: grid, every: 2}", "grid"),
        ("{invert: {name: grid}}", "{invert: grid}"),
        ("{any: [grid, {name: grid, every: 7}], ragged: true}", "{any: [grid, {name: grid, every: 7}], ragged: true}"),
        (
            "{one_of: [{masker: grid, weight: 1}, {masker: {name: grid}, weight: 3}], per: batch}",
            "{one_of: [grid, {masker: grid, weight: 3}]}",
        ),
    ],
)
def test_sections_are_written_without_what_is_default(section, written):
    (subject,) = find_subjects(section)
    assert one_line(subject.section) == written


def test_a_recipe_shows_its_maskers_on_its_grids_and_those_it_defines(show, tmp_path):
    path = tmp_path / "video.yaml"
    path.write_text(VIDEO)
    shown = facts(show, path, "--draws", 2)
    assert [masker["name"] for masker in shown] == ["video, tube90", "ramp", "mixed"]
    assert {masker["grid_from"] for masker in shown} == {"the recipe's"}
    assert shown[0]["grid"] == {"t": 8, "h": 14, "w": 14}
    for name in ("tube90", "video"):
        assert [masker["name"] for masker in facts(show, f"{path}:{name}", "--draws", 2)] == ["video, tube90"]
    (changed,) = facts(show, f"{path}:tube90", "maskers.tube90.ratio=0.5", "--draws", 2)
    assert changed["masker"]["ratio"] == 0.5


def test_a_file_may_hold_maskers_alone_or_one_masker(show, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MASKERS)
    assert [masker["name"] for masker in facts(show, path, "--draws", 2)] == ["tube90", "ramp", "mixed"]
    path.write_text("invert: {name: grid, every: 7}\n")
    (masker,) = facts(show, path, "--draws", 2)
    assert (masker["name"], masker["masker"]) == ("mine", {"invert": {"name": "grid", "every": 7}})
    assert masker["looks"][0]["sets"][0]["num_hidden"] == {"min": 4, "mean": 4.0, "max": 4}


def test_modalities_that_are_masked_together_are_shown_one_by_one(show):
    shown = facts(show, "image/multimae_base", "--draws", 20)
    assert [masker["name"] for masker in shown] == ["image", "depth", "semseg"]
    num_hidden = sum(masker["looks"][0]["sets"][0]["num_hidden"]["mean"] for masker in shown)
    assert num_hidden == pytest.approx(3 * 196 - 98)  # as the draws of all three belong together
    assert "model.encoder.mask_tokens" not in show("image/multimae_base", "--draws", 20)


# ---- in the terminal


def test_the_terminal_shows_a_mask_and_the_frequencies(show):
    out = show("random", "ratio=0.75")
    rows = out.split("hidden, in tenths\n")[1].splitlines()[:14]
    masks, tenths = zip(*(re.split(r"(?<=^.{28})  ", row) for row in rows), strict=True)
    assert sum(row.count("██") for row in masks) == 49
    assert sum(row.count("· ") for row in masks) == 147
    assert {digit for row in tenths for digit in row.split()} <= {"7", "8"}
    assert "██ visible   ·· hidden\n" in out


def test_small_grids_stand_beside_each_other_under_their_whole_labels(show):
    lines = show("random", "ratio=0.5", "--grid", "h=2,w=2").splitlines()
    assert lines[4].split("  ") == ["draw 1", "draw 2", "hidden, in tenths"]
    assert [line.index("5") for line in lines[5:7]] == [lines[4].index("hidden")] * 2


def test_many_small_frames_fit_into_the_terminal(show):
    out = show("random", "ratio=0.5", "--grid", "t=20,h=3,w=2")
    assert max(map(len, out.splitlines())) <= 80
    assert re.findall(r"^t=0 .* t=19$", out, re.M)


def test_long_grids_lie_on_their_side(show):
    out = show("random", "ratio=0.5", "over=[t]", "--grid", "t=64,f=8")
    assert "f down, t right" in out
    rows = [line for line in out.splitlines() if "█" in line][:8]
    assert {len(row.rstrip()) <= 64 for row in rows} == {True}
    assert len(set(rows)) == 1
    assert rows[0].count("█") == 32


def test_grids_too_large_for_the_terminal_say_so(show):
    assert "(a grid of 100 x 100 is too large for this terminal; -o FILE.png writes a picture)" in show(
        "random", "ratio=0.5", "--grid", "h=100,w=100", "--draws", 2
    )


def test_every_state_of_a_patch_is_told_apart(show, tmp_path):
    out = show("running_cell", "ratio=0.9", "-o", tmp_path / "cells.png")
    assert "hidden 1408 of 1568 (89.8%), kept 160, predicted 784" in out
    assert "██ visible   ·· hidden, predicted   ▓▓ visible, predicted too   blank hidden, not predicted" in out
    assert "predicted, in tenths:" in out
    shares = [count(tmp_path / "cells.png", colour) for colour in (VISIBLE, HIDDEN, VISIBLE_PREDICTED, NEITHER)]
    assert all(shares)
    assert (shares[0] + shares[2]) / sum(shares) == pytest.approx(160 / 1568, abs=0.02)
    assert (shares[1] + shares[2]) / sum(shares) == pytest.approx(0.5, abs=0.02)


def test_each_index_set_is_shown(show):
    out = show("multi_block", "--draws", 20)
    assert re.findall(r"^set (\d) of 4: hidden", out, re.M) == ["1", "2", "3", "4"]


def test_contexts_of_one_sample_are_counted_and_said(show):
    out = show("{repeat: {name: inverse_block, ratio: 0.8}, times: 16}", "--draws", 20)
    assert "20 draws in batches of 2, seed 0" in out
    assert "hidden 157 of 196 (80.1%), kept 39; 16 contexts of each sample" in out


def test_what_counts_is_said_where_not_all_that_is_predicted_does(show):
    assert "predicted 784 of which 704 count" in show("running_cell", "ratio=0.9", "--draws", 4)
    (shown,) = facts(show, "running_cell", "ratio=0.9", "--draws", 4)
    assert shown["looks"][0]["sets"][0]["num_counted"]["max"] == 704


def test_the_curve_of_parts_that_come_by_chance_is_their_mean():
    part = "{schedule: random, ratio: {from: %s, to: %s}}"
    (subject,) = find_subjects(f"{{one_of: [{part % (0.1, 0.3)}, {part % (0.7, 0.9)}]}}")
    times, shares = curve(subject, seed=0)
    assert (times[0], times[-1]) == (0, 1)
    for time, share in ((0, 0.4), (1, 0.6)):
        assert shares[times.index(time)] == pytest.approx(share, abs=0.12)
    assert shares == sorted(shares)  # the same choices at all times


def test_a_masker_of_a_file_is_shown_whatever_is_wrong_with_the_others(show, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("maskers: {third: {name: grid, every: 3}, half: {name: random, ratio: 0.5}, wrong: {name: random}}\n")
    (shown,) = facts(show, f"{path}:half", "--grid", "h=10,w=10", "--draws", 2)
    assert shown["name"] == "half"
    path.write_text("extends: image/mae_vit_base\nmaskers: {third: {name: grid, every: 3}, half: {name: random, ratio: 0.5}}\n")
    assert [each["name"] for each in facts(show, f"{path}:half", "--grid", "h=10,w=10", "--draws", 2)] == ["half"]
    assert [each["name"] for each in facts(show, f"{path}:image", "--grid", "h=10,w=10", "--draws", 2)] == ["image"]


@pytest.mark.parametrize(
    "masker", ["{name: grid, every: 3}", "{name: grid, every: 4}", "{name: random, ratio: 0.5, over: [x, y], unit: [5, 3]}"]
)
def test_a_grid_that_is_suggested_is_one_that_it_can_mask(mae, show, masker):
    code, _, err = mae("masks", "show", masker)
    assert code == 1
    (grid,) = re.findall(r"e\.g\. (--grid \S+)", err)
    assert "hidden" in show(masker, *grid.split(), "--draws", 2)


def test_no_grid_is_suggested_where_none_would_help(mae):
    _, _, err = mae("masks", "show", "{any: [grid, {name: random, ratio: 0.5}]}")
    assert "--grid" not in err


def test_schedules_are_shown_at_three_times_or_at_one(show, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MASKERS)
    out = show(f"{path}:ramp", "--grid", "h=10,w=10", "-o", tmp_path / "ramp.png")
    assert re.findall(r"^progress (\S+): hidden (\d+) of 100", out, re.M) == [("0", "25"), ("0.5", "50"), ("1", "75")]
    out = show(f"{path}:ramp", "--grid", "h=10,w=10", "--progress", 0.25)
    assert re.findall(r"^progress (\S+): hidden (\d+) of 100", out, re.M) == [("0.25", "38")]
    (nested,) = facts(show, "{invert: {schedule: random, ratio: {from: 0.2, to: 0.4}}}", "--grid", "h=10,w=10", "--draws", 2)
    assert [look["sets"][0]["num_hidden"]["max"] for look in nested["looks"]] == [80, 70, 60]


def test_parts_of_one_of_come_by_their_weights(show, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("one_of: [{masker: {name: random, ratio: 0.9}, weight: 3}, {name: random, ratio: 0.5}]\n")
    (masker,) = facts(show, path, "--grid", "h=10,w=10")
    num_hidden = masker["looks"][0]["sets"][0]["num_hidden"]
    assert (num_hidden["min"], num_hidden["max"]) == (50, 91)
    assert num_hidden["mean"] == pytest.approx(0.75 * 91 + 0.25 * 50, abs=1.5)


def test_ragged_masks_say_what_they_need(show):
    out = show("block", "ratio=0.4", "exact=false")
    assert "ragged: needs an encoder over all tokens, model.encoder.mask_tokens=true" in out
    assert re.search(r"hidden \d\d to 78 of 196 \(39\.\d%\)", out)


def test_a_masker_that_hides_nothing_is_shown_with_a_word_of_warning(show):
    out = show("none")
    assert "hidden 0 of 196 (0.0%), kept 196\npredicts nothing, which a model refuses\n" in out


def test_draws_depend_on_the_seed_alone(show):
    first, again, other = (show("random", "ratio=0.5", "--seed", seed) for seed in (1, 1, 2))
    assert first == again
    assert first.replace("seed 1", "seed 2") != other


# ---- the picture


@pytest.mark.parametrize(
    ("what", "share"),
    [
        (["random", "ratio=0.75"], 0.75),
        (["random", "ratio=0.75", "--grid", "t=8,h=14,w=14"], 0.75),
        (["random", "ratio=0.75", "--grid", "t=64,f=8"], 0.75),
        (["random", "ratio=0.75", "--grid", "t=200"], 0.75),
        (["random", "ratio=0.5", "--grid", "t=3,c=4,h=8,w=6"], 0.5),
        (["random", "ratio=0.5", "--grid", "h=250,w=250", "--draws", "4"], 0.5),
        (["inverse_block", "ratio=0.8"], 0.8),
    ],
)
def test_pictures_show_the_share(show, tmp_path, what, share):
    path = tmp_path / "new" / "mask.png"
    assert show(*what, "-o", path).endswith(f"{path}\n")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert 900 <= picture.width <= 1100
        assert 150 <= picture.height <= 3500
    hidden, visible = count(path, HIDDEN), count(path, VISIBLE)
    assert hidden + visible > 5000
    assert hidden / (hidden + visible) == pytest.approx(share, abs=0.03)


def test_a_recipe_with_several_maskers_is_one_picture(show, tmp_path):
    show("random", "ratio=0.75", "-o", tmp_path / "one.png")
    show("joint/image_video_audio", "-o", tmp_path / "three.png")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "three.png") as three:
        assert three.width == one.width
        assert three.height > 3 * one.height


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["randm"], "there is no masker, no recipe and no file 'randm'. Did you mean 'random'?"),
        (["image/mae_vit_bse"], "no recipe and no file 'image/mae_vit_bse'. Did you mean 'image/mae_vit_base'?"),
        (["image/mae_vit_base:imag"], "image/mae_vit_base has no masker 'imag'. Did you mean 'image'? Known: image."),
        (["any"], "'any' is an operator over other maskers; show a section with it: '{any: [MASKER, ...]}'"),
        (["random"], "ratio: is required by 'random' and has no value; must be a number greater than 0 and less than 1\n"
                     "parameters follow the name: mae masks show random KEY=VALUE ..."),
        (["random", "rato=0.5"], "rato: unknown parameter of 'random'. Did you mean 'ratio'?"),
        (["random", "0.5"], "override '0.5': write key.path=value"),
        (["{name: random, ratio: 2}"], "masker: ratio: 2 is not allowed: must be a number greater than 0 and less than 1"),
        (["{name: random"], "masker: not valid YAML"),
        (["dirichlet", "num_keep=3"], "'dirichlet' masks several modalities together; write it into the section model.masker"),
        (["random", "ratio=0.5", "over=[x]"], "the grid h=14 w=14 has no axis 'x'. Known: h, w.\nchoose another grid"),
        (["grid", "every=4"], "every: 4 does not divide axis 'h' of the grid h=14 w=14"),
        (["grid", "--grid", "t=0,h=4"], "grid axis 't' has size 0; every axis needs at least 1 patch"),
        (["grid", "--grid", "h=a"], "--grid 'h=a': 'h=a' is not AXIS=PATCHES; write it like t=8,h=14,w=14"),
        (["grid", "--grid", "14x14"], "'14x14' is not AXIS=PATCHES"),
        (["grid", "--grid", ""], "'' is not AXIS=PATCHES"),
        (["grid", "--grid", "h=4,h=4"], "--grid 'h=4,h=4': the axis 'h' is given twice"),
        (["grid", "--grid", "h=1000000,w=1000000"], "a grid of 1,000,000,000,000 patches is too large"),
        (["grid", "--grid", "h=" + "9" * 5000], "is not AXIS=PATCHES"),
        (["grid", "--progress", "0.5"], "--progress is for maskers with a `schedule`"),
        (["grid", "-o", "mask.jpg"], "cannot write mask.jpg: the name of the file must end in .png"),
        (["grid", "-o", "/proc/mask.png"], "cannot write /proc/mask.png"),
        (["grid", "--grid", "h=512,w=2", "--draws", "2", "-o", "x.png"], "which can show at most 256 patches"),
        (["{any: [grid, {name: random, ratio: 0.5}]}"], "any: two of its parts vary along h, w, so samples would hide"),
    ],
)  # fmt: skip
def test_mistakes(mae, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = mae("masks", "show", *arguments)
    assert code == 1
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maskers:\n  a: {name: random}\n", "mine.yaml:2: maskers.a.ratio: is required by 'random'"),
        ("name: random\nrato: 1\n", "mine.yaml:2: rato: unknown parameter of 'random'"),
        ("train: {epochs: 3}\n", "has no maskers: neither `maskers:` nor `model:` nor a masker's `name` or operator"),
        ("maskers: {a: [\n", "mine.yaml:"),
    ],
)
def test_mistakes_in_files_are_told_with_their_lines(mae, tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, _, err = mae("masks", "show", path)
    assert code == 1
    assert message in err


@pytest.mark.parametrize("arguments", [["--progress", "2"], ["--draws", "0"], ["--seed", "x"]])
def test_options_out_of_range_are_wrong_usage(mae, arguments):
    code, _, _ = mae("masks", "show", "grid", *arguments)
    assert code == 2


def test_grids_are_read_with_spaces_too():
    assert parse_grid("t=8, h = 14,w=14") == Grid(t=8, h=14, w=14)


PLUGIN = """
from mae_core.interfaces import Mask, Masker
from mae_core.masking import RandomMasker
from mae_registry import hookimpl

MAE_API = 1


class Guided(Masker):
    '''Looks at samples.'''

    needs = "patches"

    def forward(self, grid, batch_size, *, generator):
        raise AssertionError


@hookimpl
def register_maskers(register):
    register("guided", "more:Guided")
    register("lost", "nowhere:Lost")
"""


def test_maskers_of_plugins(forks, tmp_path):
    (tmp_path / "more.py").write_text(PLUGIN)
    (tmp_path / "both.yaml").write_text("maskers: {a: guided, b: {name: grid}}\n")

    def run(*arguments):
        done = forks.mae(*arguments, "--plugin", "more.py", folder=tmp_path, environment={"COLUMNS": "120"})
        return done.returncode, done.stdout, done.stderr

    code, out, _ = run("masks", "--json")
    found = {masker["name"]: masker for masker in json.loads(out)}
    assert code == 0
    assert found["guided"]["about"] == "Looks at samples."
    assert "'lost' of plugin" in found["lost"]["error"]  # and those after it are listed all the same
    assert "random" in found

    code, out, err = run("masks", "show", "both.yaml")
    assert code == 1
    assert "hidden 147 of 196" in out
    assert "a: this masker looks at the samples before it masks them, so it cannot be shown without samples" in err


# ---- another ratio for a trained model's masker


@pytest.mark.parametrize(
    ("masker", "written"),
    [
        ("{name: random, ratio: 0.9, over: [h]}", "{name: random, ratio: 0.5, over: [h]}"),
        ("{schedule: random, ratio: {from: 0.2, to: 0.8}}", "{schedule: random, ratio: 0.5}"),
        ("{any: [grid, {name: random, ratio: 0.9}], ratio: 0.8}", "{any: [grid, {name: random, ratio: 0.9}], ratio: 0.5}"),
        ("{all: [grid, {name: random, ratio: 0.9}], ragged: true}", "{all: [grid, {name: random, ratio: 0.9}], ratio: 0.5}"),
    ],
)
def test_mask_ratio_changes_maskers_that_have_one(masker, written):
    config = load_config("image/mae_vit_base", [f"model.modalities.image.masker={masker}"])
    changed = _with_ratio(config, "image", 0.5)
    assert one_line(changed.to_dict()["model"]["modalities"]["image"]["masker"]) == written


@pytest.mark.parametrize(
    "masker",
    ["grid", "{invert: grid}", "{one_of: [grid, {name: random, ratio: 0.75}]}", "{invert: {name: random, ratio: 0.25}}"],
)
def test_mask_ratio_is_refused_for_maskers_that_have_none(masker):
    config = load_config("image/mae_vit_base", [f"model.modalities.image.masker={masker}"])
    with pytest.raises(MaeError) as error:
        _with_ratio(config, "image", 0.5)
    assert str(error.value) == f"--mask-ratio: this model's masker, {masker}, has no `ratio` to change"


def test_mask_ratio_out_of_range_is_an_error():
    with pytest.raises(ConfigError, match=r"masker\.ratio: 1\.5 is not allowed"):
        _with_ratio(load_config("image/mae_vit_base"), "image", 1.5)

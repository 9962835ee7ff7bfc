"""Every component keeps its contract, by mae_core.testing; and what is particular to time series."""

from itertools import groupby
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

import mae_timeseries
from mae_core import Grid, build_model, load_config
from mae_core.interfaces import BadSample, Reconstruction
from mae_core.testing import check_dataset, check_masker, check_modality, check_tokenizer
from mae_registry import ConfigError, MaeError
from mae_timeseries.compare import interpolate
from mae_timeseries.dataset import TimeseriesCsv
from mae_timeseries.make_waves import DELAY, LEVELS, write_recordings
from mae_timeseries.masker import Spans
from mae_timeseries.pictures import write_picture
from mae_timeseries.reading import measure, read_series
from mae_timeseries.tokenizer import TimeseriesPatches

RECIPES = Path(mae_timeseries.__file__).parent / "recipes"
TWO_CHANNELS = {"length": 36, "patch_length": 6, "channels": 2, "mean": [0.5, -1.0], "std": [2.0, 3.0]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files of two channels, 40 rows and more."""
    for index in range(5):
        values = np.random.default_rng(index).standard_normal((40 + index, 2))
        np.savetxt(tmp_path / f"{index}.csv", values, delimiter=",", header="left,right", comments="")
    return tmp_path


@pytest.fixture
def csv_file(tmp_path: Path):
    """Writes a CSV file with this text."""

    def write(text: str) -> Path:
        path = tmp_path / "a.csv"
        path.write_text(text)
        return path

    return write


# ---- contracts


@pytest.mark.parametrize("sizes", [{}, {"length": 21, "patch_length": 7}, TWO_CHANNELS], ids=str)
def test_the_tokenizer_keeps_its_contract(sizes):
    check_tokenizer({"name": "timeseries_patches", **sizes})


@pytest.mark.parametrize("grid", [Grid(t=9), Grid(channel=3, t=16), Grid(t=6, h=2, w=3)], ids=str)
@pytest.mark.parametrize("shared", [False, True])
def test_the_masker_keeps_its_contract(grid, shared):
    check_masker({"name": "timeseries_spans", "shared": shared, "ratio": 0.4}, grid=grid)


@pytest.mark.parametrize("sizes", [{}, {"windows": 3}, {"held_out": 2}], ids=str)
def test_the_dataset_keeps_its_contract(folder, sizes):
    check_dataset({"name": "timeseries_csv", "root": str(folder), **sizes}, sample_shape=(2, 36))


@pytest.mark.parametrize("normalize", ["none", "patch"])
def test_the_modality_keeps_its_contract(folder, normalize):
    parts = {"tokenizer": TWO_CHANNELS, "target": {"normalize": normalize}}
    check_modality("timeseries", parts, file=folder / "0.csv")


# ---- tokenizer


def test_a_patch_is_a_part_of_one_channel():
    tokenizer = TimeseriesPatches(8, length=6, patch_length=3, channels=2)
    x = torch.arange(12.0).view(1, 2, 6)
    assert tokenizer.patchify(x).tolist() == [[[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]]
    assert tokenizer.grid == Grid(channel=2, t=2)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"length": 10, "patch_length": 4}, "patch_length 4 does not divide length 10"),
        ({"channels": 3, "mean": (1.0, 2.0)}, "mean has 2 values; give 1, or one for each of the 3 channels"),
        ({"std": (1.0, 2.0)}, "std has 2 values"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ConfigError, match=message):
        TimeseriesPatches(8, **sizes)


# ---- masker


def draw_hidden(masker, grid, batch_size=2000):
    """(B, *grid) bool"""
    mask = masker(grid, batch_size, generator=torch.Generator().manual_seed(0))
    return mask.hidden.view(batch_size, *grid.sizes)


def test_every_channel_hides_exactly_as_many():
    hidden = draw_hidden(Spans(ratio=0.3), Grid(channel=3, t=15))
    assert set(hidden.sum(dim=2).flatten().tolist()) == {round(0.3 * 15)}


def test_channels_share_their_spans_if_told_to():
    grid = Grid(channel=3, t=16)
    assert not draw_hidden(Spans(shared=False), grid).all(dim=1).any(dim=1).all()
    hidden = draw_hidden(Spans(shared=True), grid)
    assert hidden.equal(hidden[:, :1].expand_as(hidden))


def test_spans_run_along_the_axis_wherever_it_is():
    hidden = draw_hidden(Spans(axis="a", ratio=0.5), Grid(a=4, b=5))
    assert set(hidden.sum(dim=1).flatten().tolist()) == {2}


@pytest.mark.parametrize("mean_length", [1.1, 3.0])
def test_spans_have_the_mean_length(mean_length):
    """Few are hidden, so that spans rarely touch, or are cut off."""
    hidden = draw_hidden(Spans(ratio=0.05, mean_length=mean_length), Grid(t=2000), batch_size=50)
    spans = [len(list(run)) for row in hidden.tolist() for is_hidden, run in groupby(row) if is_hidden]
    assert np.mean(spans) == pytest.approx(mean_length, rel=0.12)


def test_every_place_is_hidden_equally_often():
    share = draw_hidden(Spans(ratio=0.5), Grid(t=8), batch_size=20000).float().mean(dim=0)
    assert share.numpy() == pytest.approx(0.5, abs=0.02)


def test_grids_that_cannot_be_masked():
    with pytest.raises(ConfigError, match=r"a ratio of 0.1 hides 0 of the 4 patches along t; change the ratio"):
        draw_hidden(Spans(ratio=0.1), Grid(t=4))
    with pytest.raises(ConfigError, match="the grid h=4 has no axis 't'"):
        draw_hidden(Spans(), Grid(h=4))


# ---- files


def test_a_file_is_a_header_and_rows_of_numbers(csv_file):
    series = read_series(csv_file('\ufeffa, "b"\n1,2\n\n3,\n"5",6e0\nnan,8\n'), 2)
    assert series.columns == ["a", "b"]
    assert series.lines == [2, 4, 5, 6]
    torch.testing.assert_close(series.values, torch.tensor([[1, 3, 5, np.nan], [2, np.nan, 6, 8]]), equal_nan=True)
    assert series.starts(1) == [0, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a.csv:1: 0 columns \(\); the model takes 2 channels"),
        ("a,b,c\n1,2,3", r"a.csv:1: 3 columns \(a, b, c\); the model takes 2 channels"),
        ("1,2\n3,4", "a.csv:1: numbers where the names of the columns belong; add a header"),
        ("a,b\n1,2\n3", "a.csv:3: 1 cells below a header of 2"),
        ("a,b\n1,2\n\n3,x", "a.csv:4: column 'b' holds 'x', which is no number"),
        ("a,b\n1,inf", "a.csv:2: column 'b' holds 'inf'"),
        ("a,b\n1,1e39", "a.csv:2: column 'b' holds '1e39'"),
        ('a,b\n1,"2', "a.csv: not a CSV file in UTF-8: unexpected end of data"),
    ],
)
def test_what_is_no_series(csv_file, text, message):
    with pytest.raises(BadSample, match=message):
        read_series(csv_file(text), 2)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadSample, match=r"b.csv: the file cannot be read: No such file"):
        read_series(tmp_path / "b.csv", 2)
    (tmp_path / "c.csv").write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(BadSample, match=r"c.csv: not a CSV file in UTF-8"):
        read_series(tmp_path / "c.csv", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n1\n2", "a.csv: 2 rows, no 3 in succession with all their values$"),
        ("a", "a.csv: 0 rows, no 3 in succession"),
        ("a\n1\n2\nnan\n4\n5", "a.csv: 5 rows, no 3 in succession with all their values; line 4 is the first that lacks one"),
    ],
)
def test_files_without_a_window(csv_file, text, message):
    with pytest.raises(BadSample, match=message):
        read_series(csv_file(text), 1).starts(3)


# ---- dataset


def test_windows_lack_no_value_and_come_from_everywhere(csv_file):
    path = csv_file("a\n" + "\n".join("nan" if row == 10 else str(row) for row in range(20)))
    dataset = TimeseriesCsv((1, 4), root=str(path.parent), windows=200)
    windows = dataset.load(0, random=Random(0))
    assert set(windows[:, 0, 0].tolist()) == {*range(7), *range(11, 17)}
    assert windows.diff(dim=2).eq(1).all()


def test_held_out_files_are_shown_and_not_trained_on(folder):
    dataset = TimeseriesCsv((2, 36), root=str(folder), held_out=2)
    assert [Path(dataset.describe(index)).name for index in range(len(dataset))] == ["0.csv", "1.csv", "2.csv"]
    (folder / "3.csv").write_text("damaged")
    previews = dataset.previews(3)
    assert [(preview.title, preview.note) for preview in previews] == [
        ("4.csv", "held out"),
        ("0.csv", "training"),
        ("1.csv", "training"),
    ]


def test_columns_are_those_of_the_first_file(folder):
    dataset = TimeseriesCsv((2, 36), root=str(folder))
    (folder / "1.csv").write_text("right,left\n1,2\n")
    with pytest.raises(
        BadSample, match=r"1.csv:1: the columns are \['right', 'left'\]; those of .*0.csv are \['left', 'right'\]"
    ):
        dataset.load(1, random=Random(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "add data.timeseries.root=DIR"),
        ({"root": "nowhere"}, "data.timeseries.root: there is no folder"),
        ({"root": ".", "held_out": 5}, "holds 5 CSV files, 5 are held out: none to train on"),
        ({"root": ".", "held_out": 6}, "holds 5 CSV files, 6 are held out: none to train on"),
        (
            {"root": "."},
            r"the first file says which columns there are, but: .*0.csv:1: 2 columns \(left, right\); the model takes 3",
        ),
    ],
)
def test_folders_that_are_no_data(folder, monkeypatch, options, message):
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=message):
        TimeseriesCsv((3, 36), **options)


def test_statistics_of_the_training_data():
    found = measure([torch.tensor([[1.0, 3.0], [5.0, 6.0]]), torch.tensor([[2.0, 2.0], [7.0, 6.0]])])
    assert found == {"mean": [2, 6], "std": pytest.approx([0.5**0.5, 0.5**0.5])}
    with pytest.raises(MaeError, match="column 2 is 5 throughout; leave it out"):
        measure([torch.tensor([[1.0, 3.0], [5.0, 5.0]])])
    with pytest.raises(MaeError, match="no series"):
        measure([])


# ---- pictures, recipes


@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize("has_raw", [False, True])
def test_pictures(tmp_path, num_channels, has_raw):
    x = torch.randn(num_channels, 16)
    hidden = torch.arange(16) < 8
    one = Reconstruction("a", "held out", x, hidden, -x, x if has_raw else None, mask_ratio=0.5, loss=1.0)
    write_picture([one, one], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_each_buoy_measures_what_the_one_before_it_did(tmp_path):
    write_recordings(tmp_path / "waves", num_files=2)
    heights = read_series(tmp_path / "waves" / "001.csv", 3).values - torch.tensor(LEVELS).unsqueeze(1)
    assert (heights[0, :-DELAY] - heights[1, DELAY:]).nan_to_num().abs().mean() < 0.1


def test_interpolation_for_comparison():
    x = torch.tensor([[[0.0, 9, 9, 3, 9]]])
    hidden = torch.tensor([[[False, True, True, False, True]]])
    assert interpolate(x, hidden).tolist() == [[[0, 1, 2, 3, 3]]]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_recipes_are_fine(path):
    assert "timeseries" in load_config(path)["model.modalities"]
    build_model(load_config(path))

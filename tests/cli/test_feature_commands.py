"""`mae knn`, `mae embed` and the fast probe as a person meets them: files, tables, exit codes, messages."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from mae_core import load_backbone, load_config
from mae_core.build import build_backbone
from mae_core.evaluation.frozen import open_frozen
from mae_core.interfaces import as_sample
from mae_core.runs.backbone import save_backbone
from mae_core.runs.results import read_results
from mae_image.reading import read_image

COLOURS = {"blue": (20, 30, 220), "green": (30, 210, 40), "red": (225, 40, 30)}


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    """An encoder.safetensors of a small backbone with random weights."""
    config = load_config(
        {
            "extends": "image/mae_vit_base",
            "model": {
                "encoder": {"width": 32, "depth": 2, "heads": 2},
                "modalities": {"image": {"tokenizer": {"input_size": [32, 32], "patch_size": [8, 8]}}},
            },
        }
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_backbone(build_backbone(config), config, path)
    return path


def make_picture(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 12, (40, 40, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def colours(tmp_path_factory) -> Path:
    """A folder with train/ and val/, 8 and 4 pictures of each of three colours, of which one cannot be read."""
    folder = tmp_path_factory.mktemp("colours")
    for split, count in (("train", 8), ("val", 4)):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for index in range(count):
                make_picture(
                    folder / split / name / f"{index}.png", colour, 100 * number + index + (50 if split == "val" else 0)
                )
    (folder / "train" / "red" / "torn.png").write_bytes(b"no picture")
    return folder


def test_knn_prints_a_table_and_leaves_results(mae, encoder, colours, tmp_path):
    code, out, err = mae("knn", encoder, colours, "--k", "3", "--k", "20", "--out", tmp_path / "knn")
    assert code == 0, err
    assert [line.split() for line in out.splitlines()[1:3]] == [["3", "100.00%"], ["20", "100.00%"]]
    assert "torn.png" in err
    results = read_results(tmp_path / "knn")
    assert results is not None
    assert results.mean("accuracy") == 1
    assert list(results.classes) == sorted(COLOURS)
    assert results.data["held-out samples"] == 12
    assert (tmp_path / "knn" / "report.html").is_file()


def test_samples_are_read_as_in_the_checkpoints_training_but_all_of_them(encoder, colours, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "extends: image/mae_vit_base\n"
        "model:\n"
        "  encoder: {width: 32, depth: 1, heads: 2}\n"
        "  modalities: {image: {tokenizer: {input_size: [32, 32], patch_size: [8, 8]}}}\n"
        f"data: {{image: {{root: {colours / 'val'}, labels: folders, balanced: 3, crop_share: 0.5}}}}\n"
    )
    config = load_config(recipe)
    save_backbone(build_backbone(config), config, tmp_path / "encoder.safetensors")
    frozen = open_frozen(tmp_path / "encoder.safetensors", str(colours), entry=None, folder=tmp_path, say=print)
    usual = open_frozen(encoder, str(colours), entry=None, folder=tmp_path, say=print)
    assert len(frozen.train) == len(usual.train)
    assert frozen.train.draws is None
    cut, whole = (as_sample(each.held_out.read(1)).x for each in (frozen, usual))
    assert not torch.equal(cut, whole)


def test_results_are_replaced_only_if_told_to_and_runs_never(mae, encoder, colours, tmp_path):
    folder = tmp_path / "knn"
    assert mae("knn", encoder, colours, "--out", folder)[0] == 0
    code, _, err = mae("knn", encoder, colours, "--out", folder)
    assert code == 1
    assert "--overwrite" in err
    code, out, _ = mae("knn", encoder, colours, "--out", folder, "--overwrite", "--json")
    assert code == 0
    numbers = json.loads(out)
    assert numbers["k"]["10"]["accuracy"] == 1
    (folder / "config.yaml").write_text("a run")
    code, _, err = mae("knn", encoder, colours, "--out", folder, "--overwrite")
    assert code == 1
    assert "holds something else" in err


def test_a_split_is_made_of_one_folder_and_recorded(mae, encoder, colours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = mae("knn", encoder, colours / "val", "--pool", "cls", "--layer", "1")
    assert code == 0, err
    assert "drawn with seed 0" in err
    assert len((tmp_path / "runs" / "knn" / "split.csv").read_text().splitlines()) == 13
    assert mae("knn", encoder, tmp_path / "nothing")[0] == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["knn"]  # no folder is left of what failed


def test_the_fast_probe_reports_every_head_and_picks_one(mae, encoder, colours, tmp_path):
    out = tmp_path / "probe"
    code, shown, err = mae("probe", encoder, colours, "--fast", "--layer", "1", "--views", "2", "--seeds", "2", "--out", out)
    assert code == 0, err
    lines = [line.split() for line in shown.splitlines()]
    assert sum(line[:1] in (["mean"], ["cls"]) for line in lines) == 2 * 2 * 8  # pools, layers, learning rates
    results = read_results(out)
    assert results is not None
    assert results.seeds == [0, 1]
    assert results.mean("accuracy") == 1
    assert results.data["heads tried"] == 32
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("words", [["knn"], ["probe", "--fast", "--seeds", "2"]], ids=["knn", "fast-probe"])
def test_wrong_predictions_are_shown(mae, encoder, colours, tmp_path, words):
    for number, (name, other) in enumerate({"blue": "green", "green": "red", "red": "blue"}.items()):
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        for index in range(2):  # each is in the folder of another colour
            make_picture(tmp_path / "data" / "val" / name / f"{index}.png", COLOURS[other], 900 + 10 * number + index)
    (tmp_path / "data" / "train").symlink_to(colours / "train")
    (tmp_path / "data" / "val" / "blue" / "0-torn.png").write_bytes(b"nor this")  # the first, which moves the others
    out = tmp_path / "out"
    code, _, err = mae(words[0], encoder, tmp_path / "data", *words[1:], "--out", out)
    assert code == 0, err
    results = read_results(out)
    assert results is not None
    assert len(results.wrong) == 6
    for wrong in results.wrong:
        shown, file = (Image.open(path).convert("RGB") for path in (out / (wrong.picture or ""), wrong.name))
        assert np.abs(np.asarray(shown).mean((0, 1)) - np.asarray(file).mean((0, 1))).max() < 5
    assert (out / "report.html").read_text().count("data:image/png") >= 6


def test_the_fast_probe_takes_no_recipe(mae, encoder, colours):
    for words in (["--fast", "train.epochs=3"], ["--fast", "--resume"], ["--layer", "1"], ["--views", "2"]):
        code, _, err = mae("probe", encoder, colours, *words)
        assert code == 2
        assert "--fast" in err


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    for index, colour in enumerate(COLOURS.values()):
        make_picture(folder / ("deep" if index else ".") / f"{index}.png", colour, index)
    (folder / "torn.png").write_bytes(b"no picture")
    return folder


def expected_features(encoder: Path, paths: list[Path]) -> torch.Tensor:
    backbone = load_backbone(encoder)
    tokenizer = backbone.input("image").tokenizer
    x = torch.stack([as_sample(read_image(path, tokenizer)).x for path in paths])
    with torch.no_grad():
        return backbone.encode({"image": tokenizer.normalize(x)}).pooled("mean")


def read_back(path: Path) -> tuple[list[str], torch.Tensor]:
    if path.suffix == ".npy":
        return path.with_suffix(".txt").read_text().splitlines(), torch.from_numpy(np.load(path))
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["names"]), file.get_tensor("features")
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pydict()
    return table["path"], torch.tensor(table["features"])


@pytest.mark.parametrize("name", ["features.safetensors", "features.npy", "features.parquet"])
def test_features_are_written_with_the_names_of_their_files(mae, encoder, pictures, tmp_path, name):
    alone = tmp_path / "alone.jpg"
    make_picture(alone, (9, 9, 9), 0)
    code, out, err = mae("embed", encoder, pictures, alone, tmp_path / "missing.png", "-o", tmp_path / name)
    assert code == 0, err
    assert "4 x 32" in out
    assert "torn.png" in err
    assert "missing.png" in err
    names, vectors = read_back(tmp_path / name)
    assert names == [str(path) for path in (pictures / "0.png", pictures / "deep/1.png", pictures / "deep/2.png", alone)]
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, expected_features(encoder, [Path(name) for name in names]), rtol=1e-4, atol=1e-5)


def test_tokens_and_layers(mae, encoder, pictures, tmp_path):
    path = tmp_path / "tokens.npy"
    code, _, err = mae("embed", encoder, pictures, "--pool", "tokens", "--layer", "1", "-o", path)
    assert code == 0, err
    assert read_back(path)[1].shape == (3, 16, 32)
    code, _, err = mae("embed", encoder, pictures, "--pool", "tokens", "-o", tmp_path / "tokens.parquet")
    assert code == 1
    assert ".safetensors" in err
    code, _, err = mae("embed", encoder, pictures, "--layer", "3", "-o", tmp_path / "more.npy")
    assert code == 1
    assert "no layer 3" in err


def test_nothing_that_exists_is_lost(mae, encoder, pictures, tmp_path):
    path = tmp_path / "features.npy"
    path.with_suffix(".txt").write_text("mine")
    code, _, err = mae("embed", encoder, pictures, "-o", path)
    assert code == 1
    assert "features.txt exists" in err
    assert path.with_suffix(".txt").read_text() == "mine"
    assert mae("embed", encoder, pictures, "-o", path, "--overwrite")[0] == 0
    code, _, err = mae("embed", encoder, pictures, "-o", encoder, "--overwrite")
    assert code == 1
    assert "it is what the command reads" in err
    code, _, err = mae("embed", encoder, pictures, "-o", tmp_path / "features.csv")
    assert code == 1
    assert ".parquet" in err


def test_files_none_of_which_can_be_read(mae, encoder, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"no picture")
    code, _, err = mae("embed", encoder, tmp_path / "torn.png", tmp_path / "missing.png", "-o", tmp_path / "features.npy")
    assert code == 1
    assert "none of the 2 samples can be read" in err
    assert not (tmp_path / "features.npy").exists()


def test_parquet_without_pyarrow(mae, encoder, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    code, _, err = mae("embed", encoder, pictures, "-o", tmp_path / "features.parquet")
    assert code == 1
    assert "pip install pyarrow" in err


def test_a_name_with_a_line_break_is_one_line(mae, encoder, tmp_path):
    make_picture(tmp_path / "in" / "a\nb.png", (1, 2, 3), 0)
    make_picture(tmp_path / "in" / "c.png", (1, 2, 3), 1)
    assert mae("embed", encoder, tmp_path / "in", "-o", tmp_path / "features.npy")[0] == 0
    assert len((tmp_path / "features.txt").read_text().splitlines()) == 2

"""`mae shards`: files become shards, and a run on them is the run on the files."""

import shutil

import pytest
from PIL import Image
from running import assert_same_bits, interrupt_at, run
from safetensors.torch import load_file

from mae_core import load_config
from mae_core.training.interrupts import Interrupted


def test_a_run_goes_on_from_files_to_shards_in_the_middle_of_an_epoch(mae, tiny_recipe, photos, tmp_path):
    code, out, err = mae("shards", "make", photos, "-o", tmp_path / "shards", "--shard-size", 1, "--workers", 2)
    assert code == 0, err
    assert "24 samples in 1 shard" in out
    on_files = load_config(tiny_recipe, ["train.epochs=2"])
    run(on_files, tmp_path / "whole")
    with pytest.raises(Interrupted, match="interrupted after step 2 of 6"):
        run(on_files, tmp_path / "parts", on_step=interrupt_at(1))
    overrides = [f"data.image.root={tmp_path}/shards", "data.image.in_memory=true", "train.num_workers=2"]
    run(load_config(tiny_recipe, ["train.epochs=2", *overrides]), tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "encoder.safetensors") for name in ("whole", "parts"))
    assert_same_bits(whole, parts)
    assert mae("shards", "check", tmp_path / "shards")[0] == 0


def test_the_data_of_a_recipe_become_shards(mae, labelled, tiny_recipe, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"extends: {tiny_recipe}\ndata: {{image: {{root: {labelled}, labels: folders}}}}\n")
    code, out, err = mae("shards", "make", recipe, "-o", tmp_path / "s")
    assert code == 0, err
    assert "25 samples in 1 shard" in out
    assert "2 classes" in out
    assert mae("shards", "make", recipe, "-o", tmp_path / "t", "--labels", "folders")[0] == 2
    recipe.write_text(f"extends: {tiny_recipe}\ndata: {{image: {{name: photographs}}}}\n")
    code, _, err = mae("shards", "make", recipe, "-o", tmp_path / "t")
    assert code == 1
    assert "data.image is photographs, which does not read files" in err


def test_what_is_refused(mae, photos, tmp_path):
    (tmp_path / "splits.csv").write_text("path,label,split\n1.jpg,b,val\n2.jpg,a,train\n", encoding="utf-8")
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "a.png").touch()
    in_csv = ["make", photos, "-o", tmp_path / "out", "--labels", tmp_path / "splits.csv"]
    for arguments, problem in (
        (["make", tmp_path / "empty", "-o", tmp_path / "out"], "no modality is known to read"),
        (["make", tmp_path / "none", "-o", tmp_path / "out", "--modality", "image"], "there is no folder"),
        (in_csv, "has several splits; add --split NAME, one of train, val"),
        (["make", photos, "-o", tmp_path / "out", "--split", "val"], "--split val needs a CSV file"),
        (["make", photos, "-o", photos], "other files than shards"),
        (
            ["make", tmp_path / "depth", "-o", tmp_path / "out", "--modality", "depth", "--shorter-side", 64],
            "--shorter-side is for image",
        ),
        (["check", photos], "shards.json cannot be read"),
        (["index", photos, "--modality", "image"], "contains no .tar files"),
    ):
        code, _, err = mae("shards", *arguments)
        assert code == 1
        assert problem in err
        assert "Traceback" not in err


@pytest.fixture
def labelled(photos, tmp_path):
    """Photographs in the folders of two classes, one of which cannot be read."""
    for number, path in enumerate(sorted(photos.iterdir())):
        (tmp_path / "labelled" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "labelled" / "ab"[number % 2])
    (tmp_path / "labelled" / "a" / "broken.jpg").write_bytes(next(photos.iterdir()).read_bytes()[:700])
    return tmp_path / "labelled"


def test_labelled_shards_of_a_bounded_size_are_classified(mae, tiny_config, labelled, tmp_path):
    code, out, err = mae("shards", "make", labelled, "-o", tmp_path / "s", "--labels", "folders", "--shorter-side", 32)
    assert code == 0, err
    assert "24 samples in 1 shard" in out
    assert "2 classes" in out
    assert "broken.jpg: the image cannot be decoded" in err
    assert "1 of 25 files could not be read" in err
    shutil.unpack_archive(tmp_path / "s" / "000000.tar", tmp_path / "unpacked", filter="data")
    with Image.open(next((tmp_path / "unpacked" / "b").glob("*.jpg"))) as image:
        assert image.size == (38, 32)
    run(tiny_config, tmp_path / "run")
    code, out, err = mae("knn", tmp_path / "run", tmp_path / "s", "--out", tmp_path / "knn", "--k", 1)
    assert code == 0, err

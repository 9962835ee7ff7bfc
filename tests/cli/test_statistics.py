"""`mae statistics`, and what is trained on what it measured."""

import torch
from running import run
from safetensors.torch import load_file

from mae_core import load_config
from mae_core.runs.checkpoint import load_model

TARGET = "model.modalities.image.target"


def test_principal_components_are_measured_trained_on_and_not_needed_again(mae, tiny_recipe, tmp_path):
    file, folder = tmp_path / "basis.safetensors", tmp_path / "run"
    code, out, err = mae("statistics", tiny_recipe, f"{TARGET}={{name: pca, num_components: 20}}", "--pca", file)
    assert code == 0, err
    assert out == f"{TARGET}.file={file}\n"
    assert "99.0% of the variance" in err
    basis = load_file(file)
    assert {name: tuple(tensor.shape) for name, tensor in basis.items()} == {
        "mean": (192,), "components": (192, 192), "variances": (192,),
    }  # fmt: skip
    given = [f"{TARGET}={{name: pca, num_components: 20}}", out.strip(), "train.epochs=2"]
    run(load_config(tiny_recipe, given), folder)
    assert list((folder / "pictures").glob("*.png"))
    file.unlink()
    model = load_model(folder)[0]
    assert torch.equal(model.parts("image").target.components, basis["components"][:20])
    code, _, err = mae("reconstruct", folder, "--output", tmp_path / "picture.png")
    assert code == 0, err


def test_a_sample_of_the_data_can_be_measured(mae, tiny_recipe, tmp_path):
    for number in (1, 24, 100):
        code, _, err = mae("statistics", tiny_recipe, "--num-samples", number, "--pca", tmp_path / f"{number}.safetensors")
        assert code == 0, err
    one, every, more = (load_file(tmp_path / f"{number}.safetensors") for number in (1, 24, 100))
    assert torch.equal(every["components"], more["components"])
    assert not torch.allclose(one["mean"], every["mean"])


def test_images_have_no_other_statistics(mae, tiny_recipe):
    code, _, err = mae("statistics", tiny_recipe)
    assert (code, "no statistics to measure" in err) == (1, True)


def test_without_the_file_a_run_says_how_to_make_it_and_leaves_no_folder(mae, tiny_recipe, tmp_path):
    code, _, err = mae("pretrain", tiny_recipe, f"{TARGET}=pca", "--out", tmp_path / "run")
    assert code == 1
    assert f"{TARGET}" in err
    assert "mae statistics RECIPE --pca FILE" in err
    assert not (tmp_path / "run").exists()

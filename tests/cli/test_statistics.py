"""`mae statistics`, and what is trained on what it measured."""

import pytest
import torch
import yaml
from PIL import Image
from running import run
from safetensors.torch import load_file

from mae_core import load_config
from mae_core.data.channels import measure_channels
from mae_core.runs.checkpoint import load_model
from mae_core.training.sources import build_datasets
from mae_registry import MaeError

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


def test_images_are_measured_by_channel_as_the_model_takes_them_in(mae, tiny_recipe):
    code, out, err = mae("statistics", tiny_recipe)
    assert code == 0, err
    (dataset,) = build_datasets(load_config(tiny_recipe)).values()
    pixels = torch.stack([dataset.read(index) for index in range(len(dataset))]).double() / 255
    tokenizer = f"{TARGET.removesuffix('target')}tokenizer"
    measured = load_config(tiny_recipe, out.splitlines())
    assert measured[f"{tokenizer}.mean"] == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert measured[f"{tokenizer}.std"] == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-6)
    pasted = load_config({"extends": str(tiny_recipe), **yaml.safe_load(err[err.index("model:") :])})
    assert pasted["model"] == measured["model"]


def test_label_maps_have_no_statistics(mae, tmp_path):
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    recipe = tmp_path / "labels.yaml"
    recipe.write_text(f"""
model: {{encoder: {{name: vit, width: 32, depth: 1, heads: 2}}, modalities: {{semseg: {{tokenizer: {{num_classes: 3}}}}}}}}
data: {{semseg: {{name: semseg_folder, root: {tmp_path}, num_classes: 3}}}}
""")
    code, _, err = mae("statistics", recipe)
    assert (code, err.partition(" to measure")[0]) == (1, "error: semseg has no statistics")


def test_a_channel_that_never_changes_is_named():
    with pytest.raises(MaeError, match=r"channel 2 is 0\.2 throughout"):
        measure_channels([torch.stack([torch.rand(4, 4), torch.full((4, 4), 0.2)])] * 3)
    with pytest.raises(MaeError, match="no sample"):
        measure_channels([])


def test_without_the_file_a_run_says_how_to_make_it_and_leaves_no_folder(mae, tiny_recipe, tmp_path):
    code, _, err = mae("pretrain", tiny_recipe, f"{TARGET}=pca", "--out", tmp_path / "run")
    assert code == 1
    assert f"{TARGET}" in err
    assert "mae statistics RECIPE --pca FILE" in err
    assert not (tmp_path / "run").exists()

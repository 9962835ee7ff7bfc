"""`mae_core.runs.convert`: from every kind of file to every other."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from transformers import ViTMAEForPreTraining

import mae_core
from mae_core.build import build_backbone
from mae_core.layouts.published import files_beside
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.runs.checkpoint import Checkpoint, plugin_versions, write_checkpoint
from mae_core.runs.convert import convert
from mae_core.runs.published import Origin
from mae_registry import MaeError

HEADS = ["model.encoder.heads=4"]
BOTH = [*HEADS, "model.modalities.image.decoder.heads=2"]
ASKED = Origin(overrides=BOTH)


def make_config(*overrides: str) -> mae_core.Config:
    image = {
        "tokenizer": {"input_size": [32, 32], "patch_size": [8, 8]},
        "decoder": {"width": 16, "depth": 1, "heads": 2},
    }
    sizes = {"encoder": {"width": 48, "depth": 2, "heads": 4}, "modalities": {"image": image}}
    return mae_core.load_config({"extends": "image/mae_vit_base", "model": sizes}, overrides)


def make_model(*overrides: str) -> MaskedAutoencoder:
    torch.manual_seed(1)
    return mae_core.build_model(make_config(*overrides)).eval()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A checkpoint of this project, after seven steps."""
    config = make_config()
    path = tmp_path / "own.pt"
    write_checkpoint(path, Checkpoint(7, config.to_yaml(), make_model().state_dict(), {}, plugin_versions(config)))
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "mae.pth"
    torch.save({"model": mae_core.export_state_dict(make_model(), layout="mae")}, path)
    return path


def images(side: int = 32) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def features(model: MaskedAutoencoder | Any, side: int = 32) -> Tensor:
    backbone = model.backbone if isinstance(model, MaskedAutoencoder) else model
    return backbone.encode({"image": images(side)}).x


@torch.no_grad()
def prediction(model: MaskedAutoencoder) -> Tensor:
    return model({"image": images()}, masks=make_model().draw_masks(["image"], 2)).pred["image"]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_published_weights_become_a_checkpoint_or_an_encoder(published: Path, tmp_path: Path) -> None:
    assert convert(published, tmp_path / "new.pt", origin=ASKED) == [tmp_path / "new.pt"]
    close(features(mae_core.load_model(tmp_path / "new.pt")[0]), features(make_model()))
    files = convert(published, tmp_path / "encoder.safetensors", origin=ASKED)
    assert files == [tmp_path / "encoder.safetensors", tmp_path / "encoder.md"]
    close(features(mae_core.load_backbone(tmp_path / "encoder.safetensors")), features(make_model()))


@pytest.mark.parametrize("name", ["vit.safetensors", "vit.pth"])
def test_timm_loads_a_file_as_a_checkpoint_of_its_own(name: str, own: Path, tmp_path: Path) -> None:
    convert(own, tmp_path / name, to="timm")
    about = json.loads((tmp_path / "vit.config.json").read_text())
    encoder = timm.create_model(about["architecture"], num_classes=0, checkpoint_path=tmp_path / name, **about["model_args"])
    with torch.no_grad():
        close(encoder.eval().forward_features(images()), features(make_model()))


def test_timm_loads_a_folder_with_its_configuration(own: Path, tmp_path: Path) -> None:
    files = convert(own, tmp_path / "folder", to="timm")
    assert {path.name for path in files} == {"model.safetensors", "config.json", "README.md"}
    encoder = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True)
    assert encoder.pretrained_cfg["input_size"] == (3, 32, 32)
    with torch.no_grad():
        close(encoder.eval().forward_features(images()), features(make_model()))
    # and back: the folder says how many heads there are
    close(features(mae_core.load_backbone(tmp_path / "folder")), features(make_model()))


@pytest.mark.parametrize(("sizes", "name"), [((192, 12, 3), "vit_tiny_patch16_224"), ((768, 12, 12), "vit_base_patch16_224")])
def test_published_sizes_have_timms_names(sizes: tuple[int, int, int], name: str) -> None:
    width, depth, heads = sizes
    encoder = f"model.encoder={{name: vit, width: {width}, depth: {depth}, heads: {heads}}}"
    backbone = build_backbone(mae_core.load_config("image/mae_vit_base", [encoder]))
    about = files_beside(backbone, layout="timm")["config.json"]
    assert about["architecture"] == name
    assert "model_args" not in about


def test_a_folder_for_transformers_is_written_and_read_back(own: Path, tmp_path: Path) -> None:
    files = convert(own, tmp_path / "hf", to="hf-vitmae")
    names = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md"}
    assert {path.name for path in files} == names == {path.name for path in (tmp_path / "hf").iterdir()}
    assert ViTMAEForPreTraining.from_pretrained(tmp_path / "hf").config.mask_ratio == 0.75
    assert convert(tmp_path / "hf", tmp_path / "back.pt") == [tmp_path / "back.pt"]
    back, config, _ = mae_core.load_model(tmp_path / "back.pt")
    close(prediction(back), prediction(make_model()))
    assert config["model.modalities.image.target.normalize"] == "patch"


def test_published_weights_become_published_ones_of_another_layout(published: Path, tmp_path: Path) -> None:
    convert(published, tmp_path / "hf", to="hf-vitmae", origin=ASKED)
    convert(tmp_path / "hf", tmp_path / "again.pth", to="mae")
    found = torch.load(tmp_path / "again.pth")["model"]
    expected = torch.load(published)["model"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_half_precision_files_are_read_as_float32(published: Path, tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in torch.load(published)["model"].items()}
    torch.save(state, tmp_path / "half.pth")
    heard: list[str] = []
    convert(tmp_path / "half.pth", tmp_path / "new.pt", origin=Origin(overrides=BOTH, say=heard.append))
    assert "float16" in heard[0]
    model = mae_core.load_model(tmp_path / "new.pt")[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(features(model), features(make_model()), rtol=0, atol=2e-2)


def test_averaged_weights_when_asked_for(published: Path, tmp_path: Path) -> None:
    plain = torch.load(published)["model"]
    average = {**plain, "cls_token": plain["cls_token"] + 1}
    torch.save({"model": plain, "model_ema": average}, tmp_path / "two.pth")
    for averaged in (False, True):
        convert(tmp_path / "two.pth", tmp_path / f"{averaged}.pth", to="timm", origin=Origin(overrides=BOTH, averaged=averaged))
        token = torch.load(tmp_path / f"{averaged}.pth")["model"]["cls_token"]
        assert torch.equal(token, (average if averaged else plain)["cls_token"])


def test_a_missing_decoder(tmp_path: Path) -> None:
    """A whole checkpoint of an encoder alone is possible, with a warning; other layouts of whole models say what they lack."""
    torch.save(mae_core.export_state_dict(make_model(), layout="timm"), tmp_path / "vit.pth")
    with pytest.warns(UserWarning, match="keep random values"):
        convert(tmp_path / "vit.pth", tmp_path / "new.pt", origin=ASKED)
    files = convert(tmp_path / "vit.pth", tmp_path / "hf", to="hf-vitmae", origin=Origin(overrides=HEADS))
    assert json.loads(files[1].read_text())["architectures"] == ["ViTMAEModel"]


@pytest.mark.parametrize("whole", [True, False])
def test_positions_of_another_size_are_interpolated_when_asked(whole: bool, tmp_path: Path) -> None:
    model = make_model()
    torch.save(mae_core.export_state_dict(model, layout="mae" if whole else "timm"), tmp_path / "in.pth")
    asked = [*(BOTH if whole else HEADS), "model.modalities.image.tokenizer.input_size=[64,48]"]
    output = tmp_path / ("out.pt" if whole else "out.safetensors")
    with pytest.raises(MaeError, match=r"pos_embed: .*--interpolate"):
        convert(tmp_path / "in.pth", output, origin=Origin(overrides=asked))
    with pytest.raises(MaeError, match=r"--interpolate needs the size"):
        convert(tmp_path / "in.pth", output, origin=Origin(overrides=asked[:-1]), interpolate=True)
    convert(tmp_path / "in.pth", output, origin=Origin(overrides=asked), interpolate=True)
    backbone = mae_core.load_backbone(output)
    assert backbone.input("image").tokenizer.sample_shape == (3, 64, 48)
    table = backbone.state_dict()["inputs.image.positions.table"]
    old = model.backbone.input("image").positions(torch.arange(16).unsqueeze(0))[0].T.view(1, 48, 4, 4)
    expected = torch.nn.functional.interpolate(old, size=(8, 6), mode="bicubic", align_corners=False)
    close(table, expected.flatten(2)[0].T)
    if whole:
        predicted = mae_core.load_model(output)[0]({"image": torch.randn(1, 3, 64, 48)}, generator=torch.Generator())
        assert predicted.loss.isfinite()


def test_a_checkpoint_of_this_project_says_itself_what_it_is(own: Path, tmp_path: Path) -> None:
    for origin in (Origin(layout="mae"), Origin(recipe="image/mae_vit_base"), Origin(overrides=HEADS)):
        with pytest.raises(MaeError, match="carries its recipe"):
            convert(own, tmp_path / "x.safetensors", to="timm", origin=origin)
    with pytest.raises(MaeError, match="no averaged weights"):
        convert(own, tmp_path / "x.safetensors", to="timm", origin=Origin(averaged=True))


@pytest.mark.parametrize(
    ("output", "to", "message"),
    [
        ("own.pt", None, "it is what the command reads"),
        ("own.pt", "timm", "must end in .safetensors or .pth"),
        ("photo.jpg", "timm", "must end in .safetensors or .pth"),
        ("x.onnx", None, "must end in .pt or .safetensors"),
        ("runs/one/encoder.safetensors", "timm", "in the folder of the run"),
        ("runs/one/hf", "hf-vitmae", "in the folder of the run"),
        ("there.safetensors", "timm", "replace it with --overwrite"),
        ("fine.safetensors", "timm", r"fine\.config\.json exists; replace it with --overwrite"),
        ("hf.safetensors", "hf-vitmae", "name a folder, such as .*hf$"),
        ("hf.safetensors", "hf-vitmee", "Did you mean 'hf-vitmae'"),
    ],
)
def test_outputs_that_must_not_be_written(own: Path, output: str, to: str | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "runs/one/config.yaml").write_text("model: {}")
    for name in ("there.safetensors", "fine.config.json"):
        (tmp_path / name).write_text("precious")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(MaeError, match=message):
        convert(own, tmp_path / output, to=to)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_files_are_replaced_when_asked(own: Path, tmp_path: Path) -> None:
    (tmp_path / "vit.safetensors").write_text("old")
    files = convert(own, tmp_path / "vit.safetensors", to="timm", overwrite=True)
    assert set(files) == {tmp_path / name for name in ("vit.safetensors", "vit.config.json", "vit.md")}
    assert mae_core.load_backbone(tmp_path / "vit.safetensors", overrides=HEADS)


def test_a_card_tells_what_there_is_to_know_and_not_where_data_lay(tmp_path: Path) -> None:
    config = make_config("data.image.root=/home/someone/secret-project")
    torch.manual_seed(1)
    state = mae_core.build_model(config).state_dict()
    write_checkpoint(tmp_path / "own.pt", Checkpoint(1234, config.to_yaml(), state, {}, plugin_versions(config)))
    convert(tmp_path / "own.pt", tmp_path / "hf", to="hf-vitmae")
    card = (tmp_path / "hf" / "README.md").read_text()
    for fact in ("1,234", "width 48", "3 x 32 x 32", "hf-vitmae", "license:", "mae verify", "image_folder"):
        assert fact in card
    assert "secret-project" not in card


def test_what_an_encoder_does_not_need_to_know_is_not_asked_for(tmp_path: Path) -> None:
    """No published decoder has this width, so that only the user knows its heads."""
    torch.save({"model": mae_core.export_state_dict(make_model(), layout="mae")}, tmp_path / "mae.pth")
    convert(tmp_path / "mae.pth", tmp_path / "encoder.safetensors", origin=Origin(overrides=HEADS))
    close(features(mae_core.load_backbone(tmp_path / "encoder.safetensors")), features(make_model()))
    with pytest.raises(MaeError, match=r"neither names nor shapes say model\.modalities\.image\.decoder\.heads"):
        convert(tmp_path / "mae.pth", tmp_path / "whole.pt", origin=Origin(overrides=HEADS))

"""Runs that begin with the weights of another one."""

import pytest
import torch
from running import assert_same_bits, interrupt_at, run

from mae_core import load_config
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint, load_model
from mae_core.training.interrupts import Interrupted
from mae_core.training.preflight import build_task
from mae_registry import ConfigError, MaeError


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, photos):
    folder = tmp_path_factory.mktemp("init") / "pretrained"
    run(load_config(RECIPE, [f"data.image.root={photos}"]), folder)
    return folder


RECIPE = {
    "extends": "image/mae_vit_base",
    "model": {
        "encoder": {"width": 32, "depth": 1, "heads": 2},
        "modalities": {
            "image": {
                "tokenizer": {"input_size": [16, 16], "patch_size": [8, 8]},
                "decoder": {"width": 16, "depth": 1, "heads": 2},
            }
        },
    },
    "schedule": {"warmup_epochs": 0},
    "train": {"epochs": 1, "batch_size": 6, "num_workers": 0, "num_pictures": 0},
}


def begun(*overrides):
    """The model that a new run of the recipe begins with, and what it says of it."""
    torch.manual_seed(5)
    task = build_task(load_config(RECIPE, list(overrides)))
    task.build_model(fresh=True)
    return task.model, task.notes


def test_a_whole_model_begins_where_the_other_ended(pretrained):
    model, notes = begun(f"init={{checkpoint: {pretrained}}}")
    other = load_model(pretrained)[0]
    assert_same_bits(model.state_dict(), other.state_dict())
    assert notes == [f"init    {pretrained}"]


def test_of_a_checkpoint_the_backbone_alone_can_be_taken(pretrained):
    for path in (pretrained, pretrained / "encoder.safetensors", list_checkpoints(pretrained)[0]):
        model, _ = begun(f"init={{checkpoint: {path}, backbone_only: true}}", "model.modalities.image.decoder.depth=2")
        assert_same_bits(model.backbone.state_dict(), load_model(pretrained)[0].backbone.state_dict())


def test_where_a_decoder_is_needed_a_backbone_is_not_enough(pretrained):
    encoder = pretrained / "encoder.safetensors"
    with pytest.raises(ConfigError, match=r"init\.checkpoint=.*without a decoder.*init\.backbone_only=true"):
        begun(f"init={{checkpoint: {encoder}}}")
    with pytest.raises(MaeError, match="without a decoder"):
        load_model(encoder)
    with pytest.raises(ConfigError, match=r"decoder\.blocks\.1.*init\.backbone_only=true"):
        begun(f"init={{checkpoint: {pretrained}}}", "model.modalities.image.decoder.depth=2")


def test_what_is_not_there_or_does_not_fit_is_told_with_its_key(pretrained, tmp_path):
    with pytest.raises(ConfigError, match=r"init\.checkpoint=\S+nowhere: .*nowhere"):
        begun(f"init={{checkpoint: {tmp_path / 'nowhere'}}}")
    with pytest.raises(ConfigError, match=r"init\.checkpoint=\S+: .*num_layers is 1 in it and 2"):
        begun(f"init={{checkpoint: {pretrained}}}", "model.encoder.depth=2")
    with pytest.raises(ConfigError, match=r"init\.checkpoint: has no value"):  # a recipe may leave it open
        begun("init={interpolate: true}")
    with pytest.raises(ConfigError, match=r"init\.chekpoint: unknown.*Did you mean 'checkpoint'"):
        load_config(RECIPE, ["init={chekpoint: x}"])


def test_another_resolution_needs_interpolated_positions(pretrained):
    larger = ["model.modalities.image.tokenizer.input_size=[32, 24]", "model.modalities.image.positions={name: learned}"]
    own = ["model.modalities.image.decoder_positions={name: sincos}", f"init={{checkpoint: {pretrained}}}"]
    with pytest.raises(ConfigError, match=r"h=2 w=2 in it and h=4 w=3 here; .*init\.interpolate=true"):
        begun(*larger, *own)
    model, _ = begun(*larger, *own, "init.interpolate=true")
    assert model.backbone.input("image").positions.table.shape == (12, 32)
    assert torch.isfinite(model({"image": torch.rand(2, 3, 32, 24)}).loss)


def test_a_run_that_began_with_weights_resumes_without_them(pretrained, photos, tmp_path):
    moved = tmp_path / "moved"
    pretrained.rename(moved)
    try:
        config = load_config(
            RECIPE, [f"data.image.root={photos}", f"init={{checkpoint: {moved}}}", "train.checkpoint_steps=1", "train.seed=1"]
        )
        said = run(config, tmp_path / "whole")
        assert any(f"init    {moved}" in text for text in said)
        with pytest.raises(Interrupted):
            run(config, tmp_path / "parts", on_step=interrupt_at(1))
    finally:
        moved.rename(pretrained)
    run(config, tmp_path / "parts", resume=True)
    ends = [load_checkpoint(list_checkpoints(tmp_path / name)[0]).model for name in ("whole", "parts")]
    assert_same_bits(*ends)


def test_a_finished_run_that_is_not_the_same_says_how_to_go_on(pretrained, photos):
    longer = load_config(RECIPE, [f"data.image.root={photos}", "train.epochs=3"])
    with pytest.raises(ConfigError, match=r"train\.epochs: 1 in the checkpoint, 3 now\n.*init\.checkpoint"):
        run(longer, pretrained, resume=True)

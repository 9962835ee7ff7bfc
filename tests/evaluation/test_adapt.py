"""Recipes of evaluation, made to fit a checkpoint and somebody's data."""

import pytest

from mae_core.build import modality
from mae_core.config import Config, load_config
from mae_core.evaluation.adapt import adapt, choose_recipe, only_entry
from mae_core.evaluation.data import FoundData
from mae_core.interfaces import Modality
from mae_core.runs.deviations import find_deviations
from mae_core.training.preflight import check_recipe
from mae_registry import ConfigError, MaeError

DATA = FoundData({"name": "image_folder", "root": "/x/train", "labels": "folders"}, {"root": "/x/val"}, "")
IMAGE = "model.modalities.image"


def tuned(checkpoint: Config, recipe="image/finetune_base", *overrides, data=DATA, entry="image") -> Config:
    return adapt(recipe, overrides, checkpoint=checkpoint, weights="/runs/mine", entry=entry, data=data)


def test_the_model_is_the_checkpoints_with_the_changes_of_the_protocol(tiny_config):
    config = tuned(tiny_config, "image/finetune_large", "train.epochs=7")
    encoder = config["model.encoder"]
    assert (encoder["width"], encoder["depth"], encoder["heads"]) == (32, 2, 2)
    assert (encoder["final_norm"], encoder["drop_path"]) == (False, 0.2)
    assert tuple(config[f"{IMAGE}.tokenizer.input_size"]) == (24, 32)
    assert config[f"{IMAGE}.positions"] == {"name": "learned", "class_token": True}
    assert config["init.checkpoint"] == "/runs/mine"
    assert (config["data.image.root"], config["task.validation"]) == ("/x/train", {"root": "/x/val"})
    assert (config["train.epochs"], config["optimizer.layer_decay"]) == (7, 0.75)
    assert (config.name, config.based_on) == ("image/finetune_large", "image/finetune_large")


def test_nothing_deviates_for_the_published_model():
    assert find_deviations(tuned(load_config("image/mae_vit_base"))) == []


def test_a_recipe_of_ones_own_changes_what_it_says_and_what_it_extends_says(tiny_config, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: image/finetune_base\nmodel: {encoder: {drop_path: 0.3}}\ntrain: {epochs: 30}\n")
    config = tuned(tiny_config, path)
    assert (config["model.encoder.drop_path"], config["model.encoder.final_norm"]) == (0.3, False)
    assert (config["model.encoder.width"], config["train.epochs"]) == (32, 30)
    assert (config.name, config.based_on) == ("mine", "image/finetune_base")


def test_a_recipe_that_extends_no_pretraining_says_what_the_model_is(tiny_config, tmp_path):
    path = tmp_path / "whole.yaml"
    path.write_text(tuned(tiny_config, "image/finetune_base", "model.encoder.width=16").to_yaml())
    assert tuned(tiny_config, path)["model.encoder.width"] == 16


def test_the_entry_keeps_its_name_and_the_others_are_left_out(tiny_config):
    tree = tiny_config.to_dict()
    photo = {**tree["model"]["modalities"].pop("image"), "type": "image"}
    tree["model"]["modalities"] = {"photo": photo, "depth": {"tokenizer": {"input_size": [24, 32], "patch_size": [8, 8]}}}
    tree["data"] = {"photo": tree["data"]["image"]}
    both = load_config(tree)
    config = tuned(both, entry="photo")
    assert list(config["model.modalities"]) == list(config["data"]) == ["photo"]
    assert config["data.photo.crop_scale"] == (0.08, 1.0)
    assert only_entry(both, "photo") == "photo"
    with pytest.raises(MaeError, match="has the modalities photo, depth; choose one with --modality"):
        only_entry(both, None)
    with pytest.raises(MaeError, match="no modality 'sound', but photo, depth"):
        only_entry(both, "sound")
    with pytest.raises(MaeError, match="is for image, but the checkpoint is for depth"):
        tuned(both, entry="depth")


def test_options_of_loading_are_those_that_the_dataset_has(tiny_config):
    found = FoundData({"name": "cifar10", "root": "/c", "split": "train"}, {"split": "test"}, "")
    section = tuned(tiny_config, data=found)["data.image"]
    assert (section["name"], section["root"], section["crop_scale"]) == ("cifar10", "/c", (0.08, 1.0))
    assert "labels" not in section


def test_an_encoder_without_a_class_token_is_probed_by_the_mean(tiny_config):
    assert tuned(tiny_config, "image/linprobe_base")["task.head.pool"] == "cls"
    without = load_config(tiny_config.to_dict(), ["model.encoder.class_token=false"])
    assert tuned(without, "image/linprobe_base")["task.head.pool"] == "mean"
    assert tuned(without, "image/linprobe_base", "task.head.pool=cls")["task.head.pool"] == "cls"


def test_the_recipe_is_chosen_by_the_size_of_the_encoder(tiny_config):
    image = modality("image")
    assert choose_recipe(image, "finetune", tiny_config) == "image/finetune_base"
    assert choose_recipe(image, "probe", load_config("image/mae_vit_large")) == "image/linprobe_large"
    assert choose_recipe(image, "finetune", load_config("image/mae_vit_huge")) == "image/finetune_huge"
    nothing = Modality("waves", {}, "x:y", "x:y")
    with pytest.raises(MaeError, match="'waves' comes with no recipe to finetune a model; name one with --recipe"):
        choose_recipe(nothing, "finetune", tiny_config)


@pytest.mark.parametrize(
    ("checkpoint", "purpose"),
    [(name, purpose) for name in ("video/videomae_base", "audio/audiomae_base") for purpose in ("finetune", "probe")],
)
def test_other_modalities_have_recipes_too(checkpoint, purpose):
    pretrained, name = load_config(checkpoint), checkpoint.split("/")[0]
    data = FoundData({"name": f"{name}_folder", "root": "/x/train", "labels": "folders"}, {"root": "/x/val"}, "")
    config = tuned(pretrained, choose_recipe(modality(name), purpose, pretrained), data=data, entry=name)
    assert find_deviations(config) == []
    assert config["task.validation.root"] == "/x/val"
    assert config["task.validation"].get("test_clips") == (5 if (name, purpose) == ("video", "finetune") else None)
    check_recipe(config)


def test_a_mistaken_override_is_named(tiny_config):
    with pytest.raises(ConfigError, match=r"command line: optimizer\.layer_deca"):
        tuned(tiny_config, "image/finetune_base", "optimizer.layer_deca=1")

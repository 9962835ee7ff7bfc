"""The conformance checks pass what is sound, and say what is wrong with what is not."""

import re
import sys
import types
from typing import Any

import broken_parts
import pytest
import torch
from documents import ROOT, blocks

from mae_core import Grid
from mae_core.interfaces import Dataset, Decoder, Encoder, Masker, Modality, Positions, Target, Tokenizer
from mae_core.registry import registry
from mae_core.testing import (
    check_dataset,
    check_decoder,
    check_encoder,
    check_masker,
    check_modality,
    check_positions,
    check_target,
    check_tokenizer,
)
from mae_registry import Component

KINDS = {
    "datasets": Dataset,
    "decoders": Decoder,
    "encoders": Encoder,
    "maskers": Masker,
    "modalities": Modality,
    "positions": Positions,
    "targets": Target,
    "tokenizers": Tokenizer,
}
GRID = Grid(t=2, h=4, w=6)
VIT = {"width": 16, "depth": 1, "heads": 2}
SMALL = {"encoder": {"name": "vit", **VIT}, "decoder": {"name": "vit", **VIT}}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Everything in broken_parts, by its name in lower case with underscores; and the sound patches as `sound`."""
    monkeypatch.setattr(registry(), "_components", dict(registry()._components))
    for name, part in vars(broken_parts).items():
        for kind, interface in KINDS.items():
            own = isinstance(part, type) and issubclass(part, interface) and part.__module__ == "broken_parts"
            if own or isinstance(part, interface):
                known = re.sub(r"(?<!^)(?=[A-Z0-9])", "_", name).lower() if own else part.name
                registry().add(Component(kind, known, f"broken_parts:{name}", "test"))
    registry().add(Component("tokenizers", "sound", "broken_parts:Patches", "test"))
    registry().add(Component("tokenizers", "no_module", "broken_parts_of_nowhere:Patches", "test"))
    registry().add(Component("tokenizers", "no_tokenizer", "broken_parts:Ramps", "test"))


def fails(check, *arguments, **options):
    """The message of the failure."""
    with pytest.raises(AssertionError) as failure:
        check(*arguments, **options)
    message = str(failure.value)
    assert "mae_core." in message or "docs/plugins.md" in message or "mae_registry" in message or "check must" in message, (
        message
    )
    return message


@pytest.mark.parametrize(
    "section",
    ["sound", {"name": "sound", "length": 21, "side": 7}, {"name": "sound", "channels": 1}, {"name": "sound", "channels": 5}],
    ids=str,
)
def test_sound_tokenizers_pass(section):
    check_tokenizer(section)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("no_such", "tokenizers 'no_such': looking it up failed: unknown tokenizers name 'no_such'"),
        ("no_module", "cannot be loaded from 'broken_parts_of_nowhere:Patches': ModuleNotFoundError"),
        ("no_tokenizer", "it is no Tokenizer. Contract: mae_core.interfaces.Tokenizer"),
        ("without_annotation", "the parameter 'side' has no annotation"),
        ("with_forbidden_default", "parameter 'side': the default 0 is not allowed: must be a whole number at least 1"),
        ({"name": "sound", "side": "4"}, """parameter 'side': "4" is not allowed: must be a whole number at least 1"""),
        (
            {"name": "sound", "sides": 4},
            "unknown parameter 'sides'. Did you mean 'side'? Known: channels, length, side. Contract: mae_core.inter",
        ),
        ({"name": "sound", "side": 5}, "building it failed: input_size [24] is not divisible by patch_size [5]"),
        (
            "accepts_everything",
            "a sample of shape (2, 48) instead of (2, 24) is accepted; MaeError is asked for. "
            "Contract: mae_core.interfaces.Tokenizer.patchify",
        ),
        ("no_inverse", "unpatchify does not undo patchify (largest difference "),
        ("transposed_patches", "what patchify returns on the grid t=6 has the shape (3, 8, 6), not (3, 6, 8)"),
        ("mixed_samples", "a sample's patches depend on the other samples"),
        ("contextual_embedding", "a patch's token depends on which other patches are kept"),
        ("upside_down", "denormalize does not undo normalize: larger values of a sample are drawn as smaller ones"),
        ("in_place", "normalize changes its argument. Contract: mae_core.interfaces.Tokenizer.normalize"),
        ("list_sample_shape", "its sample_shape is [2, 24], which is no tuple"),
        ("loose_tensor", "shift is a tensor but neither parameter nor buffer, so it stays behind"),
        ("single_precision", "bfloat16 failed: RuntimeError: scatter(): Expected self.dtype to be equal to src.dtype"),
        ("unsaved_state", "after saving and loading it computes something else: some of its state is no parameter or buffer"),
        ("data_dependent", "torch.compile failed: "),
        ("needs_values", "building it on the meta device failed: RuntimeError: Tensor.item() cannot be called on meta tensors"),
    ],
    ids=str,
)
def test_broken_tokenizers(section, message):
    assert message in fails(check_tokenizer, section)


def test_a_sample_of_the_check_must_be_one():
    assert "a sample of the check has the shape (1, 5), not (1, 2, 24)" in fails(
        check_tokenizer, "sound", sample=torch.zeros(2, 5)
    )


@pytest.mark.parametrize("name", ["sincos", "learned", "none"])
def test_the_cores_positions(name):
    check_positions(name, grid=GRID)
    check_positions(name, grid=Grid(t=7), width=5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("narrow_positions", "the position of ids (3, 48) at width 24 has the shape (3, 48, 23), not (3, 48, 24)"),
        ("relative_positions", "a patch's position depends on which others are asked for"),
        ("flat_class_position", "the class token's position has the shape (1, 24), not (1, 1, 24)"),
    ],
)
def test_broken_positions(name, message):
    assert message in fails(check_positions, name, grid=GRID)


@pytest.mark.parametrize("normalize", ["patch", "none"])
@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_the_cores_target(normalize, reduction):
    check_target({"name": "pixels", "normalize": normalize, "reduction": reduction}, tokenizer="sound")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unweighted_loss", "predictions that do not count change the loss. Contract: mae_core.interfaces.Target.loss"),
        ("division_by_zero", "the loss or its gradient is NaN or infinite (one sample has no patch that counts)"),
        ("row_loss", "loss failed: RuntimeError: grad can be implicitly created only for scalar outputs"),
        ("secretive", "to_patches looks at the true patches, though raw_differs says that it does not"),
        ("sorted_ids", "what is to be predicted does not follow the order of ids"),
        ("trained_target", "what is to be predicted carries gradients to the target's own weights"),
    ],
)
def test_broken_targets(name, message):
    assert message in fails(check_target, name, tokenizer="sound")


@pytest.mark.parametrize(
    "section",
    [
        {"name": "random", "ratio": 0.75},
        {"name": "random", "ratio": 0.5, "over": ["h", "w"]},
        {"name": "block", "ratio": 0.4, "min_patches": 2},
        {"name": "block", "ratio": 0.4, "min_patches": 2, "exact": False},
        "grid",
        {"name": "inverse_block", "ratio": 0.5},
        "multi_block",
        {"any": [{"name": "random", "over": ["t"], "ratio": 0.5}, {"name": "random", "over": ["h"], "ratio": 0.5}]},
        {"any": [{"name": "random", "ratio": 0.5}, {"name": "block", "ratio": 0.4, "min_patches": 2}], "ratio": 0.7},
        {"schedule": {"name": "random"}, "ratio": {"from": 0.6, "to": 0.85}},
        {"one_of": [{"name": "random", "ratio": 0.5}, {"name": "grid"}]},
        {"invert": {"name": "random", "ratio": 0.5}},
    ],
    ids=str,
)
def test_the_cores_maskers(section):
    check_masker(section, grid=GRID)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "global_generator",
            "drawing a mask uses the global generator of torch. Contract: mae_core.interfaces.Masker.forward",
        ),
        ("python_generator", "drawing a mask uses the global generator of random"),
        ("own_seed", "the mask does not depend on the generator; if that is meant, check with deterministic=True"),
        ("counting", "a generator of the same seed gives another mask"),
        ("unequal_second", "`hidden` is not what `ids_keep` leaves out"),
        ("nothing_counts", "nothing that is predicted counts in the loss"),
        ("counts_too_few", "`counts` of a query has the shape (4, 1)"),
        ("one_mask", "guided by one sample it does not draw as many masks as it is asked for"),
        ("fixed_ratio", "with_ratio gives another masker than one that is built with that ratio"),
        ("keeps_twice", "`ids_keep` holds a patch twice"),
        ("float_ids", "`ids_keep` is torch.float32, not torch.int64"),
        ("wrong_axes", "masks vary along the axis 'h', which axes leaves out. Contract: mae_core.interfaces.Masker.axes"),
        ("breaks_later", "`ids_keep` is empty: nothing is kept"),
    ],
)
def test_broken_maskers(name, message):
    assert message in fails(check_masker, {"name": name, "ratio": 0.5}, grid=GRID)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unequal_rows", "rows of one batch hide different numbers of patches"),
        ("keeps_nothing", "`ids_keep` is empty: nothing is kept"),
        ("indexing", "on the grid another_axis=7 it raises ValueError (tuple.index(x): x not in tuple), where ConfigError"),
    ],
)
def test_broken_maskers_without_a_ratio(name, message):
    assert message in fails(check_masker, name, grid=GRID)


def test_a_broken_masker_within_others():
    section = {"any": [{"name": "global_generator", "ratio": 0.5}, {"name": "random", "ratio": 0.5}], "ratio": 0.7}
    assert "drawing a mask uses the global generator of torch" in fails(check_masker, section, grid=GRID)
    assert "building it failed: " in fails(check_masker, {"any": [{"name": "rondom"}]}, grid=GRID)


def test_the_documented_example(monkeypatch):
    """The plugin of docs/plugins.md, and the test that is shown of it."""
    plugin, test = (block.text for block in blocks(ROOT / "docs" / "plugins.md") if block.language == "python")
    halves = types.ModuleType("halves")
    exec(plugin, vars(halves))
    monkeypatch.setitem(sys.modules, "halves", halves)
    registry().add(Component("maskers", "halves", "halves:Halves", "test"))
    shown: dict[str, Any] = {}
    exec(test, shown)
    (cases,) = (mark.args[1] for mark in shown["test_it_keeps_the_contract"].pytestmark)
    for grid in cases:
        shown["test_it_keeps_the_contract"](grid)


def test_a_masker_may_be_deterministic():
    check_masker({"name": "own_seed", "ratio": 0.5}, grid=GRID, deterministic=True)


def test_parameters_that_a_check_must_give():
    assert "maskers 'random': the check must give a value for ratio" in fails(check_masker, "random", grid=GRID)


@pytest.mark.parametrize(
    "section", [SMALL["encoder"], {**SMALL["encoder"], "mask_tokens": True, "class_token": False}], ids=str
)
def test_the_cores_encoder(section):
    check_encoder(section)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_prefix", "the latent of tokens (2, 10, 16), with 1 prefix tokens, has the shape (2, 10, 16), not (2, 11, 16)"),
        ("batch_centred", "a sample's latent depends on the other samples (largest difference "),
    ],
)
def test_broken_encoders(name, message):
    assert message in fails(check_encoder, {**SMALL["encoder"], "name": name})


@pytest.mark.parametrize("section", [SMALL["decoder"], {**SMALL["decoder"], "name": "cross_attention"}], ids=str)
def test_the_cores_decoders(section):
    check_decoder(section, grid=GRID)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recurrent", "predict_all changes the predictions, or their order"),
        ("other_with_all", "predict_all changes the predictions, or their order"),
        ("with_dropout", "predict_all changes the predictions, or their order"),
    ],
)
def test_broken_decoders(name, message):
    assert message in fails(check_decoder, {**SMALL["decoder"], "name": name}, grid=GRID)


def test_a_sound_dataset_passes():
    check_dataset({"name": "ramps", "count": 2}, sample_shape=(2, 24))
    check_dataset("several_views", sample_shape=(2, 24))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("global_noise", "load uses the global generator of torch. Contract: mae_core.interfaces.Dataset.load"),
        ("remembering", "load(0) with an equal generator gives another sample the second time"),
        ("wrong_shape", "a sample has the shape (2, 23), not (2, 24)"),
        (
            "reads_several_views",
            "what read(0) gives has the shape (3, 2, 24), not (2, 24). Contract: mae_core.interfaces.Dataset.read",
        ),
        ("unpicklable", "pickling it for a worker process failed: PicklingError: an open file"),
        ("endless_previews", "previews gives 1 and 3 where up to 0 and 2 are asked for"),
        ("no_name", "describe(0) is '', no text"),
        ({"name": "ramps", "count": 1}, "it has 1 samples; the check needs 2"),
    ],
    ids=str,
)
def test_broken_datasets(section, message):
    assert message in fails(check_dataset, section, sample_shape=(2, 24))


@pytest.fixture
def number(tmp_path):
    (tmp_path / "a.txt").write_text("0.5")
    return tmp_path / "a.txt"


def test_a_sound_modality_passes(number):
    check_modality("sound", {"tokenizer": {"length": 21, "side": 7}}, file=number)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("another", "modality 'another': looking it up failed: unknown modalities name 'another'"),
        ("without_masker", "its defaults name no masker. Contract: mae_core.interfaces.Modality.defaults"),
        (
            "careless",
            "reading a file that holds b'' raises ValueError (could not convert string to float: ''), where BadSample",
        ),
        ("pictureless", "picture(reconstructions, path) writes no PNG to `path`"),
        ("picture_nowhere", "importing `picture` failed: AttributeError"),
        ("loud", "['TXT'] must be lower case with the dot"),
        ("unused_weight", "no finite gradient reaches modalities.unused_weight.tokenizer.extra"),
    ],
)
def test_broken_modalities(name, message, number):
    if name == "another":  # registered under another name than its own
        registry()._components.pop(("modalities", "another"))
    assert message in fails(check_modality, name, file=number)


def test_a_modality_under_another_name():
    registry().add(Component("modalities", "alias", "broken_parts:MISNAMED", "test"))
    assert "it calls itself 'another'" in fails(check_modality, "alias")


def test_parts_that_do_not_fit_the_modality():
    assert "building its model failed: " in fails(check_modality, "sound", {"tokenizer": {"side": 5}})

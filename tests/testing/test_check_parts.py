"""The checks of tokenizers, positions, targets, encoders and decoders pass what is sound, and say what is wrong with others."""

import pytest
import torch

from mae_core import Grid
from mae_core.testing import check_decoder, check_encoder, check_positions, check_target, check_tokenizer

GRID = Grid(t=2, h=4, w=6)
VIT = {"width": 16, "depth": 1, "heads": 2}
SMALL = {"encoder": {"name": "vit", **VIT}, "decoder": {"name": "vit", **VIT}}


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
        ("embeds_by_place", "a patch's token depends on which other patches are kept"),
        ("always_projects", "without a width it still has weights to embed with"),
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
def test_broken_tokenizers(fails, section, message):
    assert message in fails(check_tokenizer, section)


def test_a_sample_of_the_check_must_be_one(fails):
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
def test_broken_positions(fails, name, message):
    assert message in fails(check_positions, name, grid=GRID)


@pytest.mark.parametrize("normalize", ["patch", "none"])
@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_the_cores_target(normalize, reduction):
    check_target({"name": "pixels", "normalize": normalize, "reduction": reduction}, tokenizer="sound")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("counts_everything", "what does not count has a weight. Contract: mae_core.interfaces.Target.weight"),
        ("division_by_zero", "an error, a weight or a gradient is NaN or infinite (one sample has no patch that counts)"),
        ("row_error", "the error of each prediction has the shape (3,), not (3, 6)"),
        ("indifferent", "predictions that count do not change the loss. Contract: mae_core.interfaces.Target.error"),
        ("secretive", "to_patches looks at the true patches, though raw_differs says that it does not"),
        ("batch_truth", "what is to be predicted of a sample depends on the other samples"),
        ("flat_truth", "it prepares (18, 8) of (3, 6) patches. Contract: mae_core.interfaces.Target.prepare"),
        ("changes_patches", "it changes the patches that it is given"),
    ],
)
def test_broken_targets(fails, name, message):
    assert message in fails(check_target, name, tokenizer="sound")


@pytest.mark.parametrize(
    "section", [SMALL["encoder"], {**SMALL["encoder"], "mask_tokens": True, "class_token": False}], ids=str
)
def test_the_cores_encoder(section):
    check_encoder(section, tokenizer="sound")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_prefix", "the latent of 2 visible patches has the shape (3, 2, 16), not (3, 3, 16)"),
        ("batch_centred", "a sample's latent depends on the other samples (largest difference "),
        ("looks_at_hidden", "the latent depends on hidden patches (largest difference "),
        ("skips_blocks", "its parameters are those of blocks [2], which are not all from 1 to 2"),
        ("forgets_layers", "the layers [1] were asked for and are not there. Contract: mae_core.interfaces.Encoder.num_layers"),
    ],
)
def test_broken_encoders(fails, name, message):
    assert message in fails(check_encoder, {**SMALL["encoder"], "name": name}, tokenizer="sound")


@pytest.mark.parametrize("section", [SMALL["decoder"], {**SMALL["decoder"], "name": "cross_attention"}], ids=str)
def test_the_cores_decoders(section):
    check_decoder(section, tokenizer="sound")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recurrent", "`everything` changes the predictions, or they are not in raster order"),
        ("ordered_context", "predictions depend on the order of the ids: context and queries are sets"),
        ("other_with_all", "`everything` changes the predictions, or they are not in raster order"),
        ("with_dropout", "`everything` changes the predictions, or they are not in raster order"),
    ],
)
def test_broken_decoders(fails, name, message):
    assert message in fails(check_decoder, {**SMALL["decoder"], "name": name}, tokenizer="sound")

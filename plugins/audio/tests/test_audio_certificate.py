"""Agreement with the published implementation, and what happens to weights that do not fit."""

import pytest
import torch
from golden_files import change_one_number, checks_of, failing, random_model, weights_of, write_numbers

from mae_audio.certificate import certify, drop_times_and_frequencies
from mae_audio.positions import SwappedSinCos
from mae_core import Grid, Mask, build_model, export_state_dict, import_state_dict, load_config
from mae_core.build import build_backbone
from mae_core.build_maskers import masker_from_section
from mae_core.interfaces import Published
from mae_core.model.classifier import Classifier
from mae_core.parts.heads import LinearHead
from mae_core.parts.positions import SinCos
from mae_registry import MaeError


def small(**parts):
    tokenizer = {"input_size": [128, 64]}
    decoder = {"width": 32, "depth": 2, "heads": 4}
    encoder = {"width": 24, "depth": 1, "heads": 2}
    modalities = {"audio": {"tokenizer": tokenizer, "decoder": decoder, **parts}}
    return build_model(load_config({"extends": "audio/audiomae_base", "model": {"encoder": encoder, "modalities": modalities}}))


def classifier(tokenizer=None, *, seed=1):
    torch.manual_seed(seed)
    audio = {"tokenizer": tokenizer or {"input_size": [128, 64]}, "positions": {"name": "learned", "class_token": True}}
    encoder = {"width": 24, "depth": 1, "heads": 2, "mlp_ratio": 3, "final_norm": False}
    sections = {"encoder": encoder, "modalities": {"audio": audio}}
    backbone = build_backbone(load_config({"extends": "audio/audiomae_base", "model": sections}))
    model = Classifier(backbone, LinearHead(24, 7)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


CERTIFICATE = "mae_audio.certificate:certify"


def test_the_numbers_that_ship_agree():
    checks = list(certify(Published("mae_audio")))
    assert len(checks) == 11
    for check in checks:
        assert check.passed, check


def random_small(**parts):
    sections = {
        "tokenizer": {"input_size": [192, 64]},
        "decoder": {"width": 32, "depth": 3, "heads": 4, "mlp_ratio": 2},
        **parts,
    }
    encoder = {"width": 24, "depth": 1, "heads": 2, "mlp_ratio": 3}
    return random_model("audio/audiomae_base", {"encoder": encoder, "modalities": {"audio": sections}}, seed=1)


def test_pretraining_of_other_sizes_agrees_until_one_number_is_changed(tmp_path):
    model = random_small(target={"normalize": "none"})
    x, noise = torch.randn(3, 1, 192, 64), torch.rand(3, 48)
    mask = Mask.from_noise(noise, 13)
    with torch.no_grad():
        out = model({"audio": x}, masks={"audio": mask}, predict="all")
    numbers = {"x": x, "noise": noise, "mask": mask.hidden.float(), "pred": out.pred["audio"], "loss": out.loss}
    sizes = {"cfg/num_heads": 2, "cfg/decoder_num_heads": 4, "cfg/norm_pix_loss": False}
    write_numbers(tmp_path / "audiomae.safetensors", numbers | weights_of(model, "audiomae"), meta=sizes)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == []
    change_one_number(tmp_path / "audiomae.safetensors", "pred", by=2e-5)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == ["pre-training: prediction"]


def test_fine_tuning_of_other_sizes_agrees_until_one_number_is_changed(tmp_path):
    model = classifier({"input_size": [192, 64]})
    x, noise_t, noise_f = torch.randn(3, 1, 192, 64), torch.rand(3, 12), torch.rand(3, 4)
    mask = drop_times_and_frequencies(Grid(t=12, f=4), noise_t, noise_f)
    with torch.no_grad():
        logits, masked = model({"audio": x}), model({"audio": x}, {"audio": mask})
    numbers = {"x": x, "noise_t": noise_t, "noise_f": noise_f, "logits": logits, "logits_masked": masked}
    numbers |= {"loss": masked.square().mean()} | weights_of(model, "audiomae_vit")
    write_numbers(tmp_path / "audiomae_vit.safetensors", numbers, meta={"cfg/num_heads": 2})
    assert failing(checks_of(CERTIFICATE, tmp_path)) == []
    change_one_number(tmp_path / "audiomae_vit.safetensors", "logits", by=2e-5)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == ["fine-tuning: logits"]


def test_swapped_positions_are_those_of_the_transposed_grid():
    grid = Grid(t=64, f=8)
    swapped, ids = SwappedSinCos(grid, 48), torch.arange(512)[None]
    assert torch.equal(swapped(ids), SinCos(Grid(f=8, t=64), 48)(ids))
    assert torch.equal(swapped(torch.tensor([[64]])), SinCos(Grid(f=8, t=64), 48)(torch.tensor([[64]])))
    assert not torch.equal(swapped(ids), SinCos(grid, 48)(ids))
    assert len(swapped(ids)[0].unique(dim=0)) == 512


@pytest.mark.parametrize("positions", ["sincos_swapped", "learned"])
@pytest.mark.parametrize("decoder", ["local_windows", "vit"])
def test_weights_survive_a_round_trip(positions, decoder):
    parts = {"positions": {"name": positions}, "decoder": {"name": decoder, "width": 32, "depth": 2, "heads": 4}}
    source, other = small(**parts), small(**parts)
    import_state_dict(other, export_state_dict(source, layout="audiomae"), layout="audiomae")
    own = source.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in other.state_dict().items())


def test_fine_tuned_weights_survive_a_round_trip():
    source, other = classifier(), classifier(seed=2)
    import_state_dict(other, export_state_dict(source, layout="audiomae_vit"), layout="audiomae_vit")
    x = torch.randn(2, 1, 128, 64)
    assert torch.equal(source({"audio": x}), other({"audio": x}))
    assert source({"audio": x}).shape == (2, 7)


def test_times_and_frequencies_are_dropped_as_the_operator_any_drops_them():
    grid = Grid(t=5, f=6)
    noise_t = torch.tensor([[0.9, 0.1, 0.5, 0.4, 0.2]])
    noise_f = torch.tensor([[0.3, 0.8, 0.1, 0.4, 0.6, 0.2]])
    mask = drop_times_and_frequencies(grid, noise_t, noise_f)
    kept = [(t, f) for t in (1, 2, 3, 4) for f in (0, 2, 3, 5)]
    assert mask.ids_keep.tolist() == [[t * 6 + f for t, f in kept]]
    masker = masker_from_section({"any": [{"name": "random", "over": [axis], "ratio": 0.2} for axis in "tf"]})
    drawn = masker(Grid(t=64, f=8), 3, generator=torch.Generator().manual_seed(0))
    whole = drop_times_and_frequencies(Grid(t=64, f=8), torch.rand(3, 64), torch.rand(3, 8))
    assert drawn.num_keep == whole.num_keep == 51 * 6
    assert drawn.hidden.reshape(3, 64, 8).all(2).sum(1).tolist() == [13] * 3


def test_weights_that_do_not_fit():
    model = small()
    state = export_state_dict(model, layout="audiomae")
    with pytest.raises(MaeError, match="the checkpoint lacks mask_token"):
        import_state_dict(model, {k: v for k, v in state.items() if k != "mask_token"}, layout="audiomae")
    with pytest.raises(MaeError, match="the checkpoint has extra, for which this model has no place"):
        import_state_dict(model, {**state, "extra": torch.zeros(1)}, layout="audiomae")
    with pytest.raises(MaeError, match=r"pos_embed: the checkpoint's positions differ.*inputs\.audio\.positions"):
        import_state_dict(small(positions={"name": "sincos"}), state, layout="audiomae")
    with pytest.raises(
        MaeError, match=r"pos_embed: the checkpoint has the shape \(1, 32, 24\), but this model has \(1, 33, 24\)"
    ):
        import_state_dict(model, {**state, "pos_embed": state["pos_embed"][:, 1:]}, layout="audiomae")
    with pytest.raises(MaeError, match=r"patch_embed\.proj\.weight has the shape \(24, 256\)"):
        import_state_dict(model, {**state, "patch_embed.proj.weight": torch.zeros(24, 256)}, layout="audiomae")
    with pytest.raises(MaeError, match="decoder_pos_embed: the checkpoint has a position for the class token"):
        import_state_dict(model, {**state, "decoder_pos_embed": state["decoder_pos_embed"] + 1}, layout="audiomae")


def test_layouts_of_other_models():
    with pytest.raises(MaeError, match=r"this model has no modalities\.audio\.decoder\.mask_token"):
        export_state_dict(classifier(), layout="audiomae")
    with pytest.raises(MaeError, match="for classifiers whose head is linear"):
        export_state_dict(small(), layout="audiomae_vit")


def test_gradients_reach_every_weight():
    model = small()
    model({"audio": torch.randn(2, 1, 128, 64)}, generator=torch.Generator().manual_seed(0)).loss.backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert lacking == []

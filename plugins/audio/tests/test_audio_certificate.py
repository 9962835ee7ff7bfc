"""Agreement with the published implementation, and what happens to weights that do not fit."""

import pytest
import torch
from golden_files import change_one_number, checks_of, failing, random_model, weights_of, write_numbers
from mae_audio.classifier import SpectrogramClassifier, keep_times_and_frequencies

from mae_audio.certificate import certify
from mae_audio.positions import SwappedSinCos
from mae_core import Grid, Mask, build_model, export_state_dict, import_state_dict, load_config
from mae_core.interfaces import Published
from mae_core.parts.positions import SinCos
from mae_registry import MaeError


def small(**parts):
    tokenizer = {"input_size": [128, 64]}
    decoder = {"width": 32, "depth": 2, "heads": 4}
    encoder = {"width": 24, "depth": 1, "heads": 2}
    modalities = {"audio": {"tokenizer": tokenizer, "decoder": decoder, **parts}}
    return build_model(load_config({"extends": "audio/audiomae_base", "model": {"encoder": encoder, "modalities": modalities}}))


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
    model = SpectrogramClassifier(random_small(positions={"name": "learned"}), 7).eval()
    x, noise_t, noise_f = torch.randn(3, 1, 192, 64), torch.rand(3, 12), torch.rand(3, 4)
    ids_keep = keep_times_and_frequencies(model.tokenizer.grid, noise_t, noise_f, ratio_t=0.2, ratio_f=0.2)
    with torch.no_grad():
        model.head.weight.normal_()
        logits, masked = model(x), model(x, ids_keep)
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
    source, other = SpectrogramClassifier(small(), 7), SpectrogramClassifier(small(), 7)
    import_state_dict(other, export_state_dict(source, layout="audiomae_vit"), layout="audiomae_vit")
    x = torch.randn(2, 1, 128, 64)
    assert torch.equal(source.eval()(x), other.eval()(x))
    assert source(x).shape == (2, 7)


def test_kept_times_and_frequencies():
    grid = Grid(t=5, f=3)
    noise_t, noise_f = torch.tensor([[0.9, 0.1, 0.5, 0.4, 0.2]]), torch.tensor([[0.3, 0.8, 0.1]])
    ids = keep_times_and_frequencies(grid, noise_t, noise_f, ratio_t=0.5, ratio_f=0.3)
    assert ids.tolist() == [[1 * 3 + 2, 1 * 3 + 0, 4 * 3 + 2, 4 * 3 + 0]]


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
    with pytest.raises(MaeError, match="this layout is for another kind of model"):
        export_state_dict(SpectrogramClassifier(small(), 2), layout="audiomae")
    with pytest.raises(MaeError, match="'audiomae_vit' is for fine-tuned classifiers"):
        export_state_dict(small(), layout="audiomae_vit")


def test_gradients_reach_every_weight():
    model = small()
    model({"audio": torch.randn(2, 1, 128, 64)}, generator=torch.Generator().manual_seed(0)).loss.backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert lacking == []

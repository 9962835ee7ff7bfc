"""Agreement with the published implementation, and what happens to weights that do not fit."""

import pytest
import torch

from mae_audio.certificate import certify
from mae_audio.classifier import SpectrogramClassifier, keep_times_and_frequencies
from mae_audio.positions import SwappedSinCos
from mae_core import Grid, build_model, export_state_dict, import_state_dict, load_config
from mae_core.parts.positions import SinCos
from mae_registry import MaeError


def small(**parts):
    tokenizer = {"input_size": [128, 64]}
    decoder = {"width": 32, "depth": 2, "heads": 4}
    encoder = {"width": 24, "depth": 1, "heads": 2}
    modalities = {"audio": {"tokenizer": tokenizer, "decoder": decoder, **parts}}
    return build_model(load_config({"extends": "audio/audiomae_base", "model": {"encoder": encoder, "modalities": modalities}}))


def test_the_certificate():
    checks = list(certify())
    assert len(checks) == 11
    for check in checks:
        assert check.passed, check


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
    with pytest.raises(MaeError, match=r"pos_embed: the checkpoint's positions differ.*positions=sincos_swapped"):
        import_state_dict(small(positions={"name": "sincos"}), state, layout="audiomae")
    with pytest.raises(MaeError, match=r"pos_embed: the checkpoint has shape \(1, 32, 24\), this model \(1, 33, 24\)"):
        import_state_dict(model, {**state, "pos_embed": state["pos_embed"][:, 1:]}, layout="audiomae")
    with pytest.raises(MaeError, match="a convolution's has 4 axes"):
        import_state_dict(model, {**state, "patch_embed.proj.weight": torch.zeros(24, 256)}, layout="audiomae")
    with pytest.raises(MaeError, match="gives the class token a position in the decoder"):
        import_state_dict(model, {**state, "decoder_pos_embed": state["decoder_pos_embed"] + 1}, layout="audiomae")


def test_layouts_of_other_models():
    with pytest.raises(MaeError, match="'audiomae' is of pre-training checkpoints; a classifier's is 'audiomae_vit'"):
        export_state_dict(SpectrogramClassifier(small(), 2), layout="audiomae")
    with pytest.raises(MaeError, match="'audiomae_vit' is of fine-tuned classifiers"):
        export_state_dict(small(), layout="audiomae_vit")


def test_gradients_reach_every_weight():
    model = small()
    model({"audio": torch.randn(2, 1, 128, 64)}, generator=torch.Generator().manual_seed(0)).loss.backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert lacking == []

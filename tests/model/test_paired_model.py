"""Models of paired modalities: one joint mask, one encoder, decoders that attend to all; and the losses these use."""

from typing import Literal

import pytest
import torch
from torch import Tensor

import mae_core
from mae_core import Mask
from mae_core.interfaces import TargetPlace
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.parts.pixels import Pixels, Reduction, weigh_counts
from mae_core.parts.positions import SinCos
from mae_image.tokenizer import ImagePatches
from mae_registry import ConfigError, MaeError

NUM = {"image": 6, "depth": 6, "semseg": 6}
BATCH = 3


def recipe(*, num_keep: int = 7) -> dict[str, object]:
    tokenizer = {"input_size": [16, 24], "patch_size": [8, 8]}
    decoder = {"name": "cross_attention", "width": 8, "depth": 1, "heads": 2}
    modalities = {
        "image": {"tokenizer": tokenizer, "decoder": decoder},
        "depth": {"tokenizer": tokenizer, "decoder": decoder},
        "semseg": {"tokenizer": {**tokenizer, "num_classes": 5, "class_width": 4}, "decoder": decoder},
    }
    encoder = {"name": "vit", "width": 16, "depth": 2, "heads": 2}
    return {"model": {"encoder": encoder, "masker": {"name": "dirichlet", "num_keep": num_keep}, "modalities": modalities}}


def make_model(*overrides: str) -> MaskedAutoencoder:
    model = mae_core.build_model(mae_core.load_config(recipe(), overrides))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def make_samples(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(BATCH, 3, 16, 24, generator=generator),
        "depth": torch.randn(BATCH, 1, 16, 24, generator=generator),
        "semseg": torch.randint(5, (BATCH, 4, 6), generator=generator),
    }


def draw(model: MaskedAutoencoder, seed: int = 0) -> dict[str, Mask]:
    masks = model.draw_masks(NUM, BATCH, generator=torch.Generator().manual_seed(seed))
    return {name: mask for name, mask in masks.items() if isinstance(mask, Mask)}


def changed(model: MaskedAutoencoder, name: str, patches_of: Tensor) -> dict[str, Tensor]:
    """The samples, with the patches where `patches_of` (B, N) is True replaced by others."""
    samples, others = make_samples(), make_samples(seed=9)
    tokenizer = model.parts(name).tokenizer
    old, new = tokenizer.patchify(samples[name]), tokenizer.patchify(others[name])
    if name == "semseg":
        new = (old + 1) % 5
    return samples | {name: tokenizer.unpatchify(torch.where(patches_of.unsqueeze(-1), new, old))}


def latents(model: MaskedAutoencoder, samples: dict[str, Tensor], masks: dict[str, Mask]) -> Tensor:
    """What the encoder gives in a forward pass."""
    outputs: list[Tensor] = []
    handle = model.backbone.encoder.register_forward_hook(lambda module, args, output: outputs.append(output.x))
    model(samples, masks=masks)
    handle.remove()
    return outputs[0]


@pytest.mark.parametrize("name", NUM)
def test_hidden_patches_of_any_modality_change_no_latent_and_no_prediction(name: str) -> None:
    model = make_model().eval()
    masks, samples = draw(model), make_samples()
    assert len({tuple((~mask.hidden).sum(1).tolist()) for mask in masks.values()}) > 1  # shares do differ
    other = changed(model, name, masks[name].hidden)
    assert not torch.equal(other[name], samples[name])
    before, after = model(samples, masks=masks), model(other, masks=masks)
    for modality in NUM:
        assert torch.equal(before.pred[modality], after.pred[modality])
    assert before.losses[name] != after.losses[name]
    assert torch.equal(latents(model, samples, masks), latents(model, other, masks))


@pytest.mark.parametrize("name", NUM)
def test_visible_patches_of_any_modality_change_the_predictions_of_all(name: str) -> None:
    model = make_model().eval()
    masks = draw(model)
    before, after = model(make_samples(), masks=masks), model(changed(model, name, ~masks[name].hidden), masks=masks)
    for modality in NUM:
        seen = (~masks[name].hidden).any(dim=1)
        assert seen.any()
        assert not torch.allclose(before.pred[modality][seen], after.pred[modality][seen])


def test_the_encoder_sees_num_keep_tokens_and_the_class_token() -> None:
    model = make_model()
    assert latents(model, make_samples(), draw(model)).shape == (BATCH, 1 + 7, 16)
    out = model(make_samples(), generator=torch.Generator().manual_seed(0))
    assert sum((~mask.hidden).sum(1) for mask in out.mask.values()).tolist() == [7] * BATCH  # type: ignore[union-attr]
    torch.testing.assert_close(out.loss, sum(out.losses.values()))


def test_a_sample_gives_the_same_alone() -> None:
    model = make_model().eval()
    masks, samples = draw(model), make_samples()
    together = model(samples, masks=masks, predict="all").pred
    for row in range(BATCH):
        one = slice(row, row + 1)
        alone = model({n: x[one] for n, x in samples.items()}, masks={n: m[one] for n, m in masks.items()}, predict="all").pred
        for name in NUM:
            torch.testing.assert_close(alone[name], together[name][one], rtol=1e-4, atol=1e-5)


def test_one_modality_alone_is_masked_by_its_own_masker() -> None:
    masks = make_model("model.modalities.depth.masker.ratio=0.5").draw_masks(["depth"], 2)
    mask = masks["depth"]
    assert isinstance(mask, Mask)
    assert (~mask.hidden).sum(1).tolist() == [3, 3]
    assert not mask.ragged


def test_unequal_totals_are_refused() -> None:
    model = make_model()
    hidden = torch.zeros(BATCH, 6, dtype=torch.bool)
    hidden[:, 3:] = True
    masks = {name: Mask.from_hidden(hidden.clone(), ragged=True) for name in NUM}
    model(make_samples(), masks=masks)
    masks["depth"].hidden[1, 0] = True
    message = (
        "the masker of 'image', 'depth', 'semseg' hides a different number of patches in each sample, which needs an encoder "
        "over all tokens: set model.encoder.mask_tokens=true, or make the masker's count exact"
    )
    with pytest.raises(MaeError) as caught:
        model(make_samples(), masks=masks)
    assert str(caught.value) == message


def test_a_decoder_of_one_modality_is_refused_where_shares_differ() -> None:
    model = make_model("model.modalities.image.decoder={name: vit, width: 8, depth: 1, heads: 2}")
    with pytest.raises(
        MaeError, match=r"the masks of 'image' hide a different number .* a decoder that attends to all modalit"
    ):
        model(make_samples(), masks=draw(model))


def test_a_joint_masker_that_hides_nothing_is_refused_when_the_model_is_built() -> None:
    with pytest.raises(ConfigError, match=r"model\.masker .*num_keep: 18 hides none of the 18 patches of image, depth, semseg"):
        mae_core.build_model(mae_core.load_config(recipe(num_keep=18)))


def test_the_sample_reduction_is_the_mean_of_the_means_of_samples_that_have_any() -> None:
    per_patch = torch.tensor([[1.0, 2, 3, 4], [10, 20, 30, 40], [5, 6, 7, 8]])
    counts = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).bool()
    cases: list[tuple[Reduction, float]] = [("sample", (2 + 8) / 2), ("batch", (1 + 2 + 3 + 8) / 4)]
    for reduction, expected in cases:
        weight = weigh_counts(counts, reduction)
        assert ((per_patch * weight).sum() / weight.sum()).item() == pytest.approx(expected)


def test_absolute_errors() -> None:
    def loss(error: Literal["mse", "l1"]) -> Tensor:
        tokenizer = ImagePatches(4, input_size=(2, 4), patch_size=(2, 2))
        target = Pixels(
            TargetPlace("image", tokenizer, 4, 1, lambda width: SinCos(tokenizer.grid, width)), error=error, reduction="sample"
        )
        return (target.error(pred, true) * target.weight(weight)).sum() / target.weight(weight).sum()

    pred, true = torch.zeros(2, 2, 12), torch.arange(48.0).reshape(2, 2, 12) - 20
    weight = torch.tensor([[True, False], [True, True]])
    expected = (true[0, 0].abs().mean() + true[1].abs().mean()) / 2
    torch.testing.assert_close(loss("l1"), expected)
    torch.testing.assert_close(loss("mse"), (true[0, 0].square().mean() + true[1].square().mean()) / 2)

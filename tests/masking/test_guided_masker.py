"""A masker that looks at the samples, from the model to the command line."""

import json
from pathlib import Path

import largest_variance
import pytest
import torch
from forks import Forks
from largest_variance import LargestVariance
from torch import Tensor

import mae_core
from mae_core.interfaces import Guide, Masker, Query
from mae_core.masking import RandomMasker
from mae_core.masking.compose import AnyMasker, OneOfMasker
from mae_core.masking.sampling import Drawn, Undrawn, take_rows
from mae_core.model.autoencoder import MaskedAutoencoder

PLUGIN = Path(largest_variance.__file__)
MASKERS: dict[str, Masker] = {
    "guided": LargestVariance(ratio=0.75),
    "and random": AnyMasker([LargestVariance(ratio=0.5), RandomMasker(ratio=0.5)], ratio=0.8),
    "or random": OneOfMasker([LargestVariance(ratio=0.5), RandomMasker(ratio=0.5)], [1, 1], per="sample"),
}


@pytest.fixture(params=MASKERS)
def model(request: pytest.FixtureRequest, tiny_config: mae_core.Config) -> MaskedAutoencoder:
    torch.manual_seed(0)
    model = mae_core.build_model(tiny_config)
    model.modalities["image"].masker = MASKERS[request.param]
    return model


@pytest.fixture
def x() -> Tensor:
    """(8, 3, 24, 32): patches of 8 x 8, each with a variance of its own."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.rand(8, 1, 3, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return torch.randn(8, 3, 24, 32, generator=generator) * scale


def draw(model: MaskedAutoencoder, batch_size: int = 8, seed: int = 0) -> dict[str, Drawn]:
    return model.draw_masks(["image"], batch_size, generator=torch.Generator().manual_seed(seed))


def test_masks_are_drawn_when_the_samples_are_there(model: MaskedAutoencoder, x: Tensor) -> None:
    drawn = draw(model)
    assert isinstance(drawn["image"], Undrawn)
    mask = model({"image": x}, masks=drawn).mask["image"]
    assert mask.hidden.sum(1).unique().tolist() == [mask.ids_predict.shape[1]]
    assert mask.num_keep + mask.ids_predict.shape[1] == 12
    again = model({"image": x}, generator=torch.Generator().manual_seed(0)).mask["image"]
    assert again.hidden.equal(mask.hidden)


def test_the_patches_of_largest_variance_are_hidden(tiny_config: mae_core.Config, x: Tensor) -> None:
    model = mae_core.build_model(tiny_config)
    model.modalities["image"].masker = LargestVariance(ratio=0.75)
    variance = model.parts("image").tokenizer.patchify(x).var(dim=-1)
    hidden = model({"image": x}, masks=draw(model)).mask["image"].hidden
    assert hidden.sum(1).tolist() == [9] * 8
    for row, values in zip(hidden, variance, strict=True):
        assert values[row].min() > values[~row].max()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_masks_and_loss_do_not_depend_on_how_a_batch_is_split(model: MaskedAutoencoder, x: Tensor, size: int) -> None:
    drawn = draw(model)
    whole = model({"image": x}, masks=drawn)
    parts = [slice(first, first + size) for first in range(0, 8, size)]
    outs = [model({"image": x[rows]}, masks={"image": take_rows(drawn["image"], rows)}) for rows in parts]
    assert torch.cat([out.mask["image"].hidden for out in outs]).equal(whole.mask["image"].hidden)
    assert torch.allclose(torch.stack([out.loss for out in outs]).mean(), whole.loss)


def test_a_samples_mask_depends_on_no_other_sample(model: MaskedAutoencoder, x: Tensor) -> None:
    drawn = draw(model)
    others = torch.cat([x[:3], torch.randn(5, 3, 24, 32, generator=torch.Generator().manual_seed(2))])
    before, after = (model({"image": samples}, masks=drawn).mask["image"].hidden for samples in (x, others))
    assert before[:3].equal(after[:3])
    assert not before[3:].equal(after[3:])


def test_global_generators_are_not_used(model: MaskedAutoencoder, x: Tensor) -> None:
    state = torch.get_rng_state()
    model({"image": x}, masks=draw(model))
    assert torch.get_rng_state().equal(state)


def test_it_trains_as_a_local_plugin_with_the_same_losses_for_any_device_batch(
    forks: Forks, tiny_recipe: Path, tmp_path: Path
) -> None:
    losses = []
    for size in (2, 4):
        folder = tmp_path / f"run-{size}"
        masker = "model.modalities.image.masker={name: largest_variance, ratio: 0.75}"
        chosen = [masker, "train.epochs=2", f"train.device_batch_size={size}"]
        done = forks.mae("pretrain", tiny_recipe, *chosen, "--out", folder, "--plugin", PLUGIN)
        assert done.returncode == 0, done.stderr
        losses.append([json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()])
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(set(losses[0])) == 6


class TrainedWeights(Masker):
    """Hides half of the patches at random; how much each prediction counts follows from a trained weight."""

    needs = "patches"

    def __init__(self) -> None:
        super().__init__()
        self.temperature = torch.nn.Parameter(torch.tensor(0.5))
        self.patches: Tensor | None = None

    def guided_by(self, guide: Guide) -> Masker:
        return self.view(patches=guide.patches)

    def forward(self, grid: mae_core.Grid, batch_size: int, *, generator: torch.Generator) -> mae_core.Mask:
        assert self.patches is not None
        mask = RandomMasker(ratio=0.5)(grid, batch_size, generator=generator)
        variance = self.patches.var(dim=-1).gather(1, mask.ids_predict)
        return mask.asking(Query(mask.ids_predict, (variance * self.temperature).softmax(dim=1)))


def test_a_masker_is_trained_by_how_much_predictions_count(tiny_config: mae_core.Config, x: Tensor) -> None:
    model = mae_core.build_model(tiny_config)
    model.modalities["image"].masker = TrainedWeights()
    model({"image": x}, generator=torch.Generator().manual_seed(0)).loss.backward()
    gradient = model.get_parameter("modalities.image.masker.temperature").grad
    assert gradient is not None
    assert float(gradient) != 0

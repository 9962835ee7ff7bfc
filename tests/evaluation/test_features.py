"""Features of a dataset: right, complete, and without a trace elsewhere."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tones import NUM_CLASSES, Tones

from mae_core import Config
from mae_core.build import build_backbone
from mae_core.evaluation import features, reading
from mae_core.evaluation.features import Readout, encode_dataset
from mae_core.interfaces import LABEL, Sample, as_sample
from mae_core.model.backbone import Backbone
from mae_registry import MaeError

SHAPE = (3, 24, 32)
EVERY = [Readout("mean"), Readout("cls"), Readout("tokens"), Readout("mean", 1), Readout("cls", 0)]


@pytest.fixture
def backbone(tiny_config: Config) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(tiny_config)


def test_a_batch_of_vectors_keeps_no_tokens_in_memory(backbone):
    samples = {"image": Sample(torch.zeros(4, *SHAPE, dtype=torch.uint8))}
    with torch.no_grad():
        found = features.encode(backbone, samples, readouts=[Readout("mean"), Readout("cls"), Readout("cls", 1)])
    for vectors in found.values():
        assert vectors.untyped_storage().nbytes() == vectors.nbytes


@pytest.mark.parametrize("num_workers", [0, 2])
def test_features_are_those_of_the_samples_one_by_one(backbone, monkeypatch, num_workers):
    monkeypatch.setattr(reading, "BATCH_SIZE", 7)
    dataset = Tones(SHAPE, bad=[0, 5, 23])
    done = []
    found = encode_dataset(
        backbone, dataset, entry="image", readouts=EVERY, num_workers=num_workers, progress=lambda *counts: done.append(counts)
    )
    read = [index for index in range(24) if index not in (0, 5, 23)]
    assert found.indices.tolist() == read
    assert list(found.names) == [f"tone {index}" for index in read]
    assert [(each.sample, each.reason) for each in found.skipped] == [
        (f"tone {index}", f"tone {index} is torn") for index in (0, 5, 23)
    ]
    assert done == [(7, 24), (14, 24), (21, 24), (24, 24)]
    assert dataset.labels is not None
    assert found.targets is not None
    assert found.targets.tolist() == dataset.labels.targets[read].tolist()
    tokenizer = backbone.input("image").tokenizer
    for row, index in enumerate(read):
        x = tokenizer.normalize(as_sample(dataset.read(index)).x[None])
        with torch.no_grad():
            latent = backbone.eval().encode({"image": x}, layers=[0, 1])
        expected = {
            Readout("mean"): latent.tokens.mean(1),
            Readout("cls"): latent.prefix[:, 0],
            Readout("tokens"): latent.tokens,
            Readout("mean", 1): latent.layers[1][:, 1:].mean(1),
            Readout("cls", 0): latent.layers[0][:, 0],
        }
        for readout, vector in expected.items():
            torch.testing.assert_close(found.vectors[readout][row], vector[0], rtol=1e-5, atol=1e-6)


def test_chosen_samples_come_in_the_order_asked_for(backbone):
    found = encode_dataset(backbone, Tones(SHAPE, labels=0), entry="image", indices=[9, 2, 4], num_workers=0)
    assert list(found.names) == ["tone 9", "tone 2", "tone 4"]
    assert found.targets is None
    assert found.vectors[Readout()].shape == (3, 32)


def test_augmented_views_depend_on_seed_view_and_sample_alone(backbone):
    def encode(view: int, seed: int, indices: Sequence[int] = (3, 8)) -> torch.Tensor:
        found = encode_dataset(
            backbone, Tones(SHAPE, num_views=2), entry="image", indices=indices, view=view, seed=seed, num_workers=0
        )
        return found.vectors[Readout()]

    first = encode(1, 0)
    torch.testing.assert_close(encode(1, 0, [8])[0], first[1], rtol=1e-5, atol=1e-6)
    for other in (encode(0, 0), encode(2, 0), encode(1, 1)):
        assert not torch.allclose(first, other)


def test_neither_modes_nor_gradients_nor_global_generators_are_touched(backbone):
    backbone.train()
    backbone.encoder.eval()
    modes = [module.training for module in backbone.modules()]
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    found = encode_dataset(backbone, Tones(SHAPE), entry="image", num_workers=1)
    assert [module.training for module in backbone.modules()] == modes
    assert not found.vectors[Readout()].requires_grad
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


def test_what_cannot_be_encoded(backbone):
    with pytest.raises(MaeError, match=r"none of the 24 samples can be read; the first one: tone 0 is torn"):
        encode_dataset(backbone, Tones(SHAPE, bad=range(24)), entry="image", num_workers=0)
    with pytest.raises(MaeError, match=r"data\.image: sample tone 4 could not be loaded: ZeroDivisionError.*`read`"):
        encode_dataset(backbone, Tones(SHAPE, mistakes=[4]), entry="image", num_workers=0)
    with pytest.raises(MaeError, match="no layer 7"):
        encode_dataset(backbone, Tones(SHAPE), entry="image", readouts=[Readout("mean", 7)], num_workers=0)


class Mixed(Tones):
    """Tones that training mixes with others, labels and all."""

    def load(self, index: int, *, random: random.Random) -> Sample:
        shares = torch.full((NUM_CLASSES,), 1 / NUM_CLASSES)
        return Sample(self._view(index, random), {LABEL: shares})

    def read(self, index: int) -> torch.Tensor | Sample:
        return Tones.load(self, index, random=random.Random(0))


def test_samples_that_are_mixed_with_others_have_no_features_of_their_own(backbone):
    assert encode_dataset(backbone, Mixed(SHAPE), entry="image", num_workers=0).targets is not None
    with pytest.raises(MaeError, match="mixes samples and their labels"):
        encode_dataset(backbone, Mixed(SHAPE), entry="image", view=1, num_workers=0)


def test_an_encoder_without_class_token_has_none_to_pool(tiny_recipe):
    from mae_core import load_config

    backbone = build_backbone(load_config(tiny_recipe, ["model.encoder.class_token=false"]))
    with pytest.raises(MaeError, match="no class token"):
        encode_dataset(backbone, Tones(SHAPE), entry="image", readouts=[Readout("cls")], num_workers=0)

import math
from pathlib import Path

import pytest
import torch
from brightness import register_brightness
from places import target_place, truth_of
from safetensors.torch import save_file
from torch import Tensor

from mae_core import load_config
from mae_core.interfaces import Latent, Mask, Predicted, Query
from mae_core.parts import tokens
from mae_core.parts.patches import PatchTokenizer
from mae_core.parts.tokens import Codebook, Tokens
from mae_core.testing import check_target
from mae_image.tokenizer import ImagePatches
from mae_registry import ConfigError

SIZES = {"input_size": [8, 12], "patch_size": [4, 4], "channels": 1, "mean": [0.5], "std": [0.25]}
NUM_TOKENS, NUM_VALUES = 7, 16


def tokenizer() -> PatchTokenizer:
    return ImagePatches(8, **SIZES)  # type: ignore[arg-type]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def target(tmp_path: Path) -> Tokens:
    save_file({"codes": random(NUM_TOKENS, NUM_VALUES)}, tmp_path / "codes.safetensors")
    quantizer = {"name": "codebook", "num_tokens": NUM_TOKENS, "file": str(tmp_path / "codes.safetensors")}
    made = Tokens(target_place(tokenizer()), quantizer=quantizer)
    made.read_weights()
    return made


@pytest.mark.parametrize("chunk", [tokens.CHUNK, 5])
def test_a_patch_has_the_id_of_the_nearest_code(target: Tokens, monkeypatch: pytest.MonkeyPatch, chunk: int):
    monkeypatch.setattr(tokens, "CHUNK", chunk)
    x, codes = random(3, 1, 8, 12, seed=1), random(NUM_TOKENS, NUM_VALUES)
    ids = truth_of(target, tokenizer(), x)
    assert (ids.shape, ids.dtype) == ((3, 6), torch.int64)
    for row, patches in enumerate(tokenizer().patchify(x)):
        expected = [min(range(NUM_TOKENS), key=lambda code, p=patch: float((p - codes[code]).norm())) for patch in patches]
        assert ids[row].tolist() == expected
    assert len(ids.unique()) > 3


def test_the_error_is_the_cross_entropy_of_each_patch(target: Tokens):
    scores, ids = random(2, 3, NUM_TOKENS), torch.tensor([[0, 6, 2], [3, 3, 1]])
    error = target.error(scores, ids)
    assert error.shape == (2, 3)
    row = scores[1, 2].tolist()
    assert error[1, 2].item() == pytest.approx(math.log(math.fsum(map(math.exp, row))) - row[1], rel=1e-6)
    assert target.dim == NUM_TOKENS


def test_the_log_has_the_share_of_right_tokens(target: Tokens):
    truth = torch.tensor([[0, 1, 2, 3, 4, 5], [6, 5, 4, 3, 2, 1]])
    ids = torch.tensor([[5, 0], [2, 1]])
    pred = torch.nn.functional.one_hot(torch.tensor([[5, 1], [4, 5]]), NUM_TOKENS).float()  # the second is wrong
    mask = Mask(torch.tensor([[1], [0]]), torch.zeros(2, 6, dtype=torch.bool), (Query(ids, torch.ones(2, 2)),))
    latent = Latent(torch.zeros(2, 1, 8), 0, mask.ids_keep, {"only": (0, 6)}, {"only": 1})
    predicted = Predicted(mask, latent, pred, truth, target.error(pred, truth.gather(1, ids)))
    assert target.metrics(predicted)["token_accuracy"].item() == 0.75


def test_pictures_are_the_codes(target: Tokens):
    codes, ids = random(NUM_TOKENS, NUM_VALUES), torch.tensor([[0, 6, 2, 2, 1, 4]])
    scores = torch.nn.functional.one_hot(ids, NUM_TOKENS).float()
    assert target.has_picture
    assert target.to_patches(scores, torch.zeros(1, 6, NUM_VALUES)).equal(codes[ids])


def test_the_quantizer_is_frozen_and_saved_with_the_model(target: Tokens):
    quantizer = target.train().quantizer
    assert isinstance(quantizer, Codebook)
    assert not quantizer.training
    assert not any(parameter.requires_grad for parameter in target.parameters())
    other = Tokens(target_place(tokenizer()), quantizer={"name": "codebook", "num_tokens": NUM_TOKENS})
    other.load_state_dict(target.state_dict())
    x = random(2, 1, 8, 12, seed=2)
    assert truth_of(other, tokenizer(), x).equal(truth_of(target, tokenizer(), x))


def test_tokens_do_not_depend_on_the_precision_of_the_step(target: Tokens):
    x = random(8, 1, 8, 12, seed=3)
    plain = truth_of(target, tokenizer(), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert truth_of(target, tokenizer(), x).equal(plain)


def test_the_contract_of_targets():
    quantizer = {"name": "codebook", "num_tokens": NUM_TOKENS}
    check_target({"name": "tokens", "quantizer": quantizer}, tokenizer={"name": "image_patches", **SIZES})


def test_wrong_files_say_what_is_needed(tmp_path: Path):
    def reading(**recipe: object) -> str:
        quantizer = {"name": "codebook", "num_tokens": NUM_TOKENS, **recipe}
        with pytest.raises(ConfigError) as error:
            Tokens(target_place(tokenizer()), quantizer=quantizer).read_weights()
        assert str(error.value).startswith("quantizer.file: ")
        return str(error.value)

    assert "needs a value" in reading()
    save_file({"codes": torch.zeros(5, NUM_VALUES)}, tmp_path / "codes.safetensors")
    assert "(5, 16) codes x values; needed are (7, 16)" in reading(file=str(tmp_path / "codes.safetensors"))


def test_a_quantizer_of_ones_own_is_frozen_and_sees_whole_samples():
    register_brightness()
    target = Tokens(target_place(tokenizer()), quantizer={"name": "brightness", "num_tokens": 3})
    target.read_weights()
    target.train()
    assert not any(parameter.requires_grad for parameter in target.parameters())
    assert (target.dim, target.has_picture) == (3, False)
    x = torch.stack([torch.full((1, 8, 12), -1.0), torch.full((1, 8, 12), 1.0)])
    assert truth_of(target, tokenizer(), x).tolist() == [[0, 1, 2, 0, 1, 2], [1, 2, 0, 1, 2, 0]]
    assert set(target.state_dict()) == {"quantizer.scale"}


def test_wrong_keys_of_a_quantizer_are_found_with_the_recipe():
    with pytest.raises(ConfigError, match=r"target\.quantizer\.num_tokns: unknown parameter of 'codebook'.*'num_tokens'"):
        load_config("image/paper/table1d_tokens", ["model.modalities.image.target.quantizer.num_tokns=3"])

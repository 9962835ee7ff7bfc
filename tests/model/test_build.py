import math
from typing import Any

import pytest
import torch

import mae_core
from mae_core.build import build_masker
from mae_core.interfaces import Masker
from mae_core.masking import BlockMasker, RandomMasker
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_registry import ConfigError, MaeError

RECIPE: dict[str, Any] = {
    "model": {
        "encoder": {"name": "vit", "width": 16, "depth": 2, "heads": 2},
        "modalities": {
            "image": {
                "tokenizer": {"input_size": [16, 16], "patch_size": [4, 4]},
                "decoder": {"width": 8, "depth": 2, "heads": 2},
            }
        },
    }
}
SMALL = [
    "model.encoder.width=16",
    "model.encoder.depth=1",
    "model.encoder.heads=2",
    "model.modalities.image.decoder={width: 8, depth: 1, heads: 2}",
    "model.modalities.image.tokenizer.input_size=[64, 64]",
]
PARTS = "model.modalities.image"
RAGGED = f"{PARTS}.masker={{name: block, ratio: 0.75, min_patches: 6, exact: false}}"
"""In most batches all samples hide 12 of 16, in some one hides fewer."""


def build(*overrides: str) -> MaskedAutoencoder:
    return mae_core.build_model(mae_core.load_config(RECIPE, overrides))


def test_the_python_surface_as_documented() -> None:
    from mae_core import Grid, Mask

    cfg = mae_core.load_config("image/mae_vit_base", overrides=[f"{PARTS}.masker.ratio=0.6", *SMALL])
    torch.manual_seed(0)
    model = mae_core.build_model(cfg)
    assert isinstance(model, torch.nn.Module)
    x, g = torch.randn(2, 3, 64, 64), torch.Generator().manual_seed(0)
    out = model({"image": x}, generator=g)
    assert out.loss.shape == ()
    num_keep = int(16 * (1 - 0.6))
    assert model.parts("image").tokenizer.grid == Grid(h=4, w=4)
    assert out.mask["image"].ids_predict.shape == (2, 16 - num_keep)
    assert out.pred["image"].shape == (2, 16 - num_keep, 768)

    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    assert model({"image": x}, masks={"image": Mask.from_noise(noise, num_keep)}).loss.equal(out.loss)
    assert model({"image": x}, generator=g, predict="all").pred["image"].shape == (2, 16, 768)

    timm_names = mae_core.export_state_dict(model, layout="timm")
    assert "blocks.0.attn.qkv.weight" in timm_names
    state_dict = mae_core.export_state_dict(model, layout="mae")
    other = mae_core.build_model(cfg)
    mae_core.import_state_dict(other, state_dict, layout="mae")
    assert other({"image": x}, masks={"image": Mask.from_noise(noise, num_keep)}).loss.equal(out.loss)


def test_a_recipes_name_is_no_config() -> None:
    name: Any = "demo/image"
    with pytest.raises(MaeError, match=r"build_model\(load_config\(\.\.\.\)\), and got 'demo/image'"):
        mae_core.build_model(name)


def test_parts_are_built_from_their_sections() -> None:
    model = build(f"{PARTS}.masker={{name: block, ratio: 0.5}}", f"{PARTS}.positions=none", f"{PARTS}.target.normalize=none")
    parts = model.parts("image")
    assert isinstance(parts.masker, BlockMasker)
    assert parts.masker.ratio == 0.5
    assert type(parts.positions).__name__ == type(parts.decoder.positions).__name__ == "NoPositions"
    assert not parts.target.raw_differs
    assert len(list(model.backbone.encoder.get_submodule("blocks").children())) == 2


def test_one_seed_gives_the_same_weights() -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(build().state_dict())
    first, same, other = models
    assert all(first[name].equal(same[name]) for name in first)
    random = {name for name in first if first[name].unique().numel() > 1}
    assert len(random) > 15
    assert not any(first[name].equal(other[name]) for name in random)


def test_the_masker_draws_from_no_global_generator_when_it_is_tried() -> None:
    config, backbone = mae_core.load_config(RECIPE), build().backbone
    state = torch.get_rng_state()
    masker: Masker = build_masker(config, "image", backbone)
    assert isinstance(masker, RandomMasker)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("masker", ["random", "block", "grid"])
def test_a_model_without_memory_for_its_weights(masker: str) -> None:
    section = f"{{name: {masker}}}" if masker == "grid" else f"{{name: {masker}, ratio: 0.5}}"
    with torch.device("meta"):
        model = mae_core.build_model(mae_core.load_config("image/mae_vit_huge", [f"{PARTS}.masker={section}"]))
    assert {tensor.device.type for tensor in [*model.parameters(), *model.buffers()]} == {"meta"}
    assert sum(math.prod(p.shape) for p in model.backbone.encoder.parameters()) > 6e8


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        (
            f"{PARTS}.tokenizer.patch_size=[5, 4]",
            f"{PARTS}.tokenizer",
            "input_size [16, 16] is not divisible by patch_size [5, 4]: axis 'h' has 16 = 3 x 5 + 1; use 15 or 20",
        ),
        (
            f"{PARTS}.tokenizer.channels=4",
            f"{PARTS}.tokenizer",
            "mean has 3 values but there are 4 channels; give one value for each channel",
        ),
        (
            f"{PARTS}.masker.ratio=0.95",
            f"{PARTS}.masker",
            "ratio 0.95 keeps none of the 16 positions it chooses from on the grid h=4 w=4; "
            "lower the ratio or use a finer grid",
        ),
        (
            f"{PARTS}.masker={{name: random, ratio: 0.5, over: [t]}}",
            f"{PARTS}.masker",
            "the grid h=4 w=4 has no axis 't'. Known: h, w.",
        ),
        ("model.encoder.heads=3", "model.encoder", "width 16 is not divisible by heads 3"),
        (f"{PARTS}.decoder.heads=5", f"{PARTS}.decoder", "width 8 is not divisible by heads 5"),
        (
            RAGGED,
            f"{PARTS}.masker",
            "this masker hides a different number of patches in each sample, which needs an encoder over all tokens: set "
            "model.encoder.mask_tokens=true, or make the masker's count exact",
        ),
    ],
)
def test_parts_that_do_not_fit_name_their_key_and_its_origin(override: str, key: str, message: str) -> None:
    config = mae_core.load_config(RECIPE, [override])
    with pytest.raises(ConfigError) as error:
        mae_core.build_model(config)
    assert str(error.value) == f"{key} ({config.origin(key)}): {message}"


def test_the_origin_is_the_recipes_line(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: image/mae_vit_base\nmodel:\n  encoder:\n    heads: 5\n")
    with pytest.raises(ConfigError, match=r"^model\.encoder \(.*mine\.yaml:3\): width 768 is not divisible by heads 5$"):
        mae_core.build_model(mae_core.load_config(path))


class _Fixed(Masker):
    """Hides the patches it is told to, in every sample."""

    def __init__(self, hidden: list[bool]) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, grid: mae_core.Grid, batch_size: int, *, generator: torch.Generator) -> mae_core.Mask:
        return mae_core.Mask.from_hidden(torch.tensor([self.hidden]).expand(batch_size, -1))


@pytest.mark.parametrize(("hidden", "what"), [([True] * 4, "keeps"), ([False] * 4, "predicts")])
def test_a_masker_of_a_plugin_that_leaves_one_set_empty(monkeypatch: pytest.MonkeyPatch, hidden: list[bool], what: str) -> None:
    backbone = build(f"{PARTS}.tokenizer.input_size=[8, 8]").backbone
    monkeypatch.setattr("mae_core.build_maskers._named", lambda section: _Fixed(hidden))
    with pytest.raises(ConfigError, match=rf": this masker {what} nothing on the grid h=2 w=2$"):
        build_masker(mae_core.load_config(RECIPE), "image", backbone)


def test_ragged_masks_are_taken_by_an_encoder_over_all_tokens() -> None:
    model = build(RAGGED, "model.encoder.mask_tokens=true")
    out = model({"image": torch.randn(64, 3, 16, 16)}, generator=torch.Generator().manual_seed(0))
    assert out.mask["image"].ragged
    assert out.loss.isfinite()

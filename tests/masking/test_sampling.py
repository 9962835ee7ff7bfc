"""Masks that are drawn when the samples are there, and what is tried when a model is built."""

from collections.abc import Callable, Mapping

import pytest
import torch
from largest_variance import LargestVariance
from torch import Tensor
from trained_masker import Scored

from mae_core import Grid
from mae_core.build_maskers import build_joint_masker, build_tried_masker
from mae_core.interfaces import Guide, JointMasker, Latent, Mask, Masker, MaskSets, Query
from mae_core.masking import RandomMasker
from mae_core.masking.compose import AnyMasker, OneOfMasker, RepeatMasker
from mae_core.masking.sampling import Undrawn, draw, take_rows, trial_masks
from mae_core.parts.vit_encoder import ViTEncoder
from mae_core.registry import registry
from mae_registry import Component, ConfigError, MaeError, Registry

GRID = Grid(h=4, w=5)
PATCHES = torch.randn(6, 20, 3, generator=torch.Generator().manual_seed(1)) * torch.rand(6, 20, 1)


def latent(num_samples: int = 6, *, seed: int = 0) -> Latent:
    x = torch.randn(num_samples, 1 + 20, 3, generator=torch.Generator().manual_seed(seed))
    ids = torch.arange(20).expand(num_samples, -1)
    return Latent(x, 1, ids, spans={"x": (0, 20)}, counts={"x": 20}, layers={2: x + 1})


def undrawn(masker: Masker, batch_size: int = 6, seed: int = 0) -> Undrawn:
    drawn = draw(masker, GRID, batch_size, generator=torch.Generator().manual_seed(seed))
    assert isinstance(drawn, Undrawn)
    return drawn


def single(drawn: MaskSets) -> Mask:
    assert isinstance(drawn, Mask)
    return drawn


def test_a_masker_of_the_grid_is_drawn_at_once() -> None:
    drawn = draw(RandomMasker(ratio=0.5), GRID, 6, generator=torch.Generator().manual_seed(0))
    assert isinstance(drawn, Mask)


@pytest.mark.parametrize("masker", [Scored(ratio=0.5), RepeatMasker([Scored(ratio=0.5)], times=3)], ids=["plain", "repeated"])
def test_a_masker_is_given_the_latent_of_its_own_sample(masker: Masker) -> None:
    drawn, given = undrawn(masker), latent()
    assert drawn.needs_backbone
    mask = single(drawn.draw(GRID, PATCHES, latent=given))
    assert len(mask.hidden) == 6 * mask.repeats
    scored = next(module for module in masker.modules() if isinstance(module, Scored))
    score = scored.score(given.tokens).squeeze(-1).repeat_interleave(mask.repeats, dim=0)
    share = (score.masked_fill(~mask.hidden, 0).sum(1) > score.masked_fill(mask.hidden, 0).sum(1)).double().mean()
    assert share > 0.9
    other = latent(seed=5)
    other.x[2:] = given.x[2:]
    again = single(drawn.draw(GRID, PATCHES, latent=other))
    assert again[2:6].hidden.equal(mask[2:6].hidden)
    assert not again[0:2].hidden.equal(mask[0:2].hidden)


def test_a_guide_has_one_sample_with_every_layer() -> None:
    guides: list[Guide] = []

    class Noting(Scored):
        def guided_by(self, guide: Guide) -> "Scored":
            guides.append(guide)
            return super().guided_by(guide)

    undrawn(Noting(ratio=0.5)).draw(GRID, PATCHES, latent=latent())
    assert len(guides) == 6
    for index, guide in enumerate(guides):
        assert guide.patches.equal(PATCHES[index : index + 1])
        assert guide.latent is not None
        assert guide.latent.tokens.equal(latent().tokens[index : index + 1])
        assert guide.latent.layers[2].equal(latent().layers[2][index : index + 1])


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_any_split_of_a_batch_has_the_same_masks(size: int) -> None:
    masker = RepeatMasker([AnyMasker([LargestVariance(ratio=0.5), RandomMasker(ratio=0.5)], ratio=0.6)], times=2)
    drawn = undrawn(masker)
    whole = single(drawn.draw(GRID, PATCHES))
    parts = []
    for start in range(0, 6, size):
        rows = slice(start, start + size)
        some = take_rows(drawn, rows)
        assert isinstance(some, Undrawn)
        parts.append(single(some.draw(GRID, PATCHES[rows])))
    assert torch.cat([part.hidden for part in parts]).equal(whole.hidden)


def test_a_batch_of_one_of_several_is_of_one_though_each_sample_is_masked_alone() -> None:
    """Else samples of one batch would keep different numbers of patches, at random and long after the model was built."""
    masker = OneOfMasker([LargestVariance(ratio=0.5), LargestVariance(ratio=0.75), RandomMasker(ratio=0.25)], [1, 1, 1])
    kept = set()
    for seed in range(30):
        drawn = draw(masker, GRID, 6, generator=torch.Generator().manual_seed(seed))
        mask = single(drawn.draw(GRID, PATCHES) if isinstance(drawn, Undrawn) else single(drawn))
        kept.add(mask.num_keep)
    assert kept == {10, 5, 15}


# ---- what is tried when a model is built


class Uneven(Masker):
    """Hides where values are above zero: another number in each sample."""

    needs = "patches"

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.zeros(1, 1, 1)

    def guided_by(self, guide: Guide) -> "Uneven":
        return self.view(patches=guide.patches)

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        return Mask.from_hidden((self.patches[..., 0] > 0).expand(batch_size, -1))


class Uncounted(RandomMasker):
    def __init__(self) -> None:
        super().__init__(ratio=0.5)

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        mask = super().forward(grid, batch_size, generator=generator)
        return mask.asking(mask.ids_keep)


class CountsInOneQuery(RandomMasker):
    def __init__(self) -> None:
        super().__init__(ratio=0.5)

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        mask = super().forward(grid, batch_size, generator=generator)
        return mask.asking(mask.ids_keep, Query(mask.ids_predict, torch.full(mask.ids_predict.shape, 0.5)))


class KeepsTensor(RandomMasker):
    """Makes a tensor in its constructor."""

    def __init__(self) -> None:
        super().__init__(ratio=0.5)
        self.shift = torch.arange(20)

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        hidden = super().forward(grid, batch_size, generator=generator).hidden
        return Mask.from_hidden(hidden[:, self.shift])


class Nobody(JointMasker):
    """Keeps nothing, of any modality."""

    def forward(self, grids: Mapping[str, Grid], batch_size: int, *, generator: torch.Generator) -> dict[str, Mask]:
        return {
            name: Mask.from_hidden(torch.ones(batch_size, grid.num_patches, dtype=torch.bool), ragged=True)
            for name, grid in grids.items()
        }


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a registry of their own, so that no other test sees them."""
    own = Registry()
    own.add(*registry())
    for each in (Uneven, Uncounted, CountsInOneQuery, KeepsTensor, Scored, Nobody):
        own.add(Component("maskers", each.__name__.lower(), f"{each.__module__}:{each.__name__}", "test"))
    monkeypatch.setattr("mae_core.registry.registry", lambda: own)


def tried(section: object, *, make_latent: Callable[[int], Latent] | None = None) -> Masker:
    """Built as `mae config check` builds it."""
    with torch.device("meta"):
        encoder = ViTEncoder({}, width=8, depth=1, heads=1)
        return build_tried_masker(section, GRID, check=encoder.check_mask, patch_dim=3, make_latent=make_latent)  # type: ignore[arg-type]


def by_weight(*maskers: object, per: str) -> dict[str, object]:
    return {"one_of": [{"masker": masker, "weight": 1} for masker in maskers], "per": per}


RANDOM = {"name": "random", "ratio": 0.5}
NOTHING_COUNTS = "none of the patches that this masker predicts on the grid h=4 w=5 counts in the loss"
UNEQUAL = "predict different numbers of patches|keep different numbers of patches"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "uneven"}, UNEQUAL),
        ({"all": [{"name": "uneven"}], "ragged": True}, "which needs an encoder over all tokens"),
        (by_weight(RANDOM, {"name": "uneven"}, per="batch"), UNEQUAL),
        (by_weight(RANDOM, {"name": "uneven"}, per="sample"), "parts of equal counts"),
        ({"all": [RANDOM, RANDOM], "ragged": True}, "which needs an encoder over all tokens"),
        ({"repeat": {"all": [RANDOM, RANDOM], "ragged": True}, "times": 2}, "which needs an encoder over all tokens"),
        ({"name": "uncounted"}, NOTHING_COUNTS),
        ({"repeat": {"name": "uncounted"}, "times": 2}, NOTHING_COUNTS),
        (by_weight(RANDOM, {"name": "uncounted"}, per="batch"), NOTHING_COUNTS),
        ({"name": "none"}, "predicts nothing"),
        ({"invert": {"name": "none"}}, "keeps nothing"),
    ],
)
def test_what_would_die_in_training_is_refused_when_the_model_is_built(section: object, message: str) -> None:
    with pytest.raises(MaeError, match=message):
        tried(section)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "countsinonequery"},
        {"name": "keepstensor"},
        by_weight(RANDOM, RANDOM, per="sample"),
        {"repeat": by_weight(RANDOM, {"name": "keepstensor"}, per="sample"), "times": 3},
    ],
)
def test_what_trains_is_built_for_any_device(section: object) -> None:
    masker = tried(section)
    (mask,) = [single(drawn) for drawn in trial_masks(masker, GRID)]
    assert mask.hidden.device.type == "cpu"


def test_a_masker_that_needs_the_backbone_is_tried_with_a_latent_where_there_is_one() -> None:
    asked = []

    def make_latent(num_samples: int) -> Latent:
        asked.append(num_samples)
        return latent(num_samples)

    masker = tried({"name": "scored", "ratio": 0.5, "width": 3}, make_latent=make_latent)
    assert asked == [2]
    assert next(masker.parameters()).device.type == "cpu"  # it could not be tried on the meta device
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        tried({"name": "scored", "ratio": 0.5, "width": 4}, make_latent=make_latent)
    assert tried({"name": "scored", "ratio": 0.5, "width": 4}) is not None


def test_trying_uses_no_global_generator() -> None:
    before: Tensor = torch.get_rng_state()
    tried({"any": [{"name": "random", "ratio": 0.5}], "ratio": 0.6, "ragged": False})
    assert torch.get_rng_state().equal(before)


def test_a_joint_masker_is_tried_too() -> None:
    with pytest.raises(ConfigError, match="keeps nothing of any modality"):
        build_joint_masker({"name": "nobody"}, {"a": GRID, "b": GRID})
    with torch.device("meta"):
        assert build_joint_masker({"name": "dirichlet", "num_keep": 4}, {"a": GRID, "b": GRID})

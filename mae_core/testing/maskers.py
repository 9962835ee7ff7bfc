"""Check of maskers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mae_core.build_maskers import masker_from_section
from mae_core.interfaces import Grid, Guide, Latent, Mask, Masker, MaskSets, Query, each_mask
from mae_core.masking.sampling import Undrawn, draw
from mae_core.testing.subject import Part, Section, Subject
from mae_registry import MaeError

BATCH_SIZE, NUM_SEEDS, PATCH_DIM = 4, 8, 5


@dataclass(frozen=True)
class _Samples:
    """What a masker is checked on. B samples."""

    grid: Grid
    patches: Tensor
    """(B, N, P)."""
    latent: Latent | None


def check_masker(
    section: Section,
    *,
    grid: Grid,
    deterministic: bool = False,
    patches: Tensor | None = None,
    latent: Latent | None = None,
) -> None:
    """The contract of `mae_core.interfaces.Masker`, on this grid and on some that are too small.

    Args:
        section: the masker as in a recipe, also one made of others, e.g. `{"any": [...], "ratio": 0.75}`.
        grid: one that it can mask.
        deterministic: the mask does not depend on the generator.
        patches: (4, N, P) for a masker that needs them. Default: normal noise.
        latent: of the same samples, for a masker that needs the backbone.
    """
    subject, masker = _masker(section)
    if patches is None:
        patches = torch.randn(BATCH_SIZE, grid.num_patches, PATCH_DIM, generator=torch.Generator().manual_seed(0))
    needed = latent is not None or masker.needs != "backbone"
    subject.require(needed, "the check must give a latent, since this masker needs the backbone", contract=subject.at("needs"))
    samples = _Samples(grid, patches, latent)
    names = set(masker.state_dict())
    for progress in (0.0, 0.5, 1.0):
        _check_at(subject, masker, samples, progress)
    unchanged = set(masker.state_dict()) == names
    subject.require(unchanged, "drawing masks changed the names of its parameters", contract=subject.at("view"))
    if not deterministic:
        hidden = [torch.cat([mask.hidden for mask in _draw(subject, masker, samples, seed)]) for seed in range(NUM_SEEDS)]
        problem = "the mask does not depend on the generator; if that is meant, check with deterministic=True"
        subject.require(any(not each.equal(hidden[0]) for each in hidden), problem, contract=subject.at("forward"))
    if isinstance(section, Mapping) and "name" in section and "ratio" in section:
        _check_ratio(subject, masker, section, samples)
    _check_small_grids(subject, masker, samples)


def _masker(section: Section) -> tuple[Subject, Masker]:
    if isinstance(section, str) or "name" in section:
        part = Part("maskers", section, Masker)
        return part, part.build()
    subject = Subject(f"masker {dict(section)}", Masker)
    with subject.attempt("building it", contract="mae_core.build_maskers.masker_from_section"):
        return subject, masker_from_section(section)


def _check_at(subject: Subject, masker: Masker, samples: _Samples, progress: float) -> None:
    """All that holds at one moment of training."""
    contract = subject.at("forward")
    with subject.attempt(f"at({progress:g})", contract=subject.at("at")):
        masker = masker.at(progress)
    subject.require(isinstance(masker, Masker), f"at({progress:g}) gives no Masker", contract=subject.at("at"))
    with subject.leaves_global_generators_alone("drawing a mask", contract=contract):
        masks = _draw(subject, masker, samples, seed=0)
    if masker.needs == "patches":
        guided = masker.guided_by(Guide(samples.patches[:1]))
        several = each_mask(guided(samples.grid, 3, generator=torch.Generator().manual_seed(0)))
        enough = all(len(mask.hidden) == 3 * mask.repeats for mask in several)
        subject.require(enough, "guided by one sample it does not draw as many masks as it is asked for", contract=contract)
    for mask in masks:
        _check_mask(subject, mask, samples.grid, len(samples.patches))
        _check_axes(subject, masker, samples.grid, mask)
    again = _draw(subject, masker, samples, seed=0)
    subject.require(_equal(masks, again), "a generator of the same seed gives another mask", contract=contract)
    one = _Samples(samples.grid, samples.patches[:1], samples.latent)
    for mask in _draw(subject, masker, one, seed=0):
        subject.require_shape(
            mask.hidden, (mask.repeats, samples.grid.num_patches), "`hidden` of one sample", contract=contract
        )


def _draw(subject: Subject, masker: Masker, samples: _Samples, seed: int) -> tuple[Mask, ...]:
    """One mask or several, as a tuple."""
    with subject.attempt(f"drawing a mask on the grid {samples.grid}", contract=subject.at("forward")):
        drawn = _draw_any(masker, samples, seed)
    masks = each_mask(drawn)
    ok = isinstance(masks, tuple) and masks != () and all(isinstance(mask, Mask) for mask in masks)
    subject.require(ok, "it gives neither a Mask nor a tuple of them", contract=subject.at("forward"))
    return masks


def _draw_any(masker: Masker, samples: _Samples, seed: int) -> MaskSets:
    """Draw masks as a model does, even if they depend on the samples."""
    drawn = draw(masker, samples.grid, len(samples.patches), generator=torch.Generator().manual_seed(seed))
    return drawn.draw(samples.grid, samples.patches, latent=samples.latent) if isinstance(drawn, Undrawn) else drawn


def _equal(first: Sequence[Mask], second: Sequence[Mask]) -> bool:
    def tensors(mask: Mask) -> list[Tensor]:
        return [mask.hidden, mask.ids_keep, *(tensor for query in mask.queries for tensor in (query.ids, query.counts))]

    return len(first) == len(second) and all(
        len(tensors(one)) == len(tensors(other)) and all(map(torch.equal, tensors(one), tensors(other)))
        for one, other in zip(first, second, strict=True)
    )


def _check_mask(subject: Subject, mask: Mask, grid: Grid, num_samples: int) -> None:
    """What holds for the mask of a batch."""
    contract, num_patches, num_rows = "mae_core.interfaces.Mask", grid.num_patches, num_samples * mask.repeats
    _check_tensor(subject, mask.hidden, "hidden", [torch.bool], contract)
    subject.require_shape(mask.hidden, (num_rows, num_patches), f"`hidden` on the grid {grid}", contract=contract)
    _check_ids(subject, mask.ids_keep, "ids_keep", mask.hidden, f"{contract}.ids_keep")
    subject.require(mask.ids_keep.shape[1] > 0, "`ids_keep` is empty: nothing is kept", contract=f"{contract}.ids_keep")
    for query in mask.queries:
        _check_query(subject, query, mask.hidden)
    counted = any(bool(query.counts.any()) for query in mask.queries)
    problem = "nothing that is predicted counts in the loss"
    subject.require(counted, problem, contract="mae_core.interfaces.Query.counts")
    if mask.ragged:
        lists_all = mask.ids_keep.shape[1] == num_patches
        subject.require(
            lists_all, "the mask is ragged, but `ids_keep` does not list all patches", contract=f"{contract}.ragged"
        )
        return
    counts = sorted(set(mask.hidden.sum(dim=1).tolist()))
    problem = f"rows of one batch hide different numbers of patches ({counts[0]} to {counts[-1]})"
    subject.require(len(counts) == 1, problem, contract=subject.at("forward"))
    kept = torch.ones_like(mask.hidden).scatter(1, mask.ids_keep, False)
    subject.require(kept.equal(mask.hidden), "`hidden` is not what `ids_keep` leaves out", contract=f"{contract}.hidden")


def _check_query(subject: Subject, query: Query, hidden: Tensor) -> None:
    contract = "mae_core.interfaces.Query"
    _check_ids(subject, query.ids, "ids", hidden, f"{contract}.ids")
    subject.require(query.ids.shape[1] > 0, "`ids` of a query is empty: nothing is predicted", contract=f"{contract}.ids")
    _check_tensor(subject, query.counts, "counts", [torch.bool, torch.float32, torch.float64], contract)
    shape = tuple(query.ids.shape)
    subject.require_shape(query.counts, shape, "`counts` of a query", contract=f"{contract}.counts")
    weights = query.counts.double()
    ok = bool((weights.isfinite() & (weights >= 0)).all())
    subject.require(ok, "`counts` of a query has weights below 0, or not finite", contract=f"{contract}.counts")


def _check_tensor(subject: Subject, tensor: Tensor, name: str, dtypes: Sequence[torch.dtype], contract: str) -> None:
    subject.require(tensor.device.type == "cpu", f"`{name}` is not on the CPU", contract=subject.at("forward"))
    allowed = " or ".join(map(str, dtypes))
    subject.require(tensor.dtype in dtypes, f"`{name}` is {tensor.dtype}, not {allowed}", contract=f"{contract}.{name}")


def _check_ids(subject: Subject, ids: Tensor, name: str, hidden: Tensor, contract: str) -> None:
    _check_tensor(subject, ids, name, [torch.int64], contract.rpartition(".")[0])
    num_rows, num_patches = hidden.shape
    ok = ids.ndim == 2 and len(ids) == num_rows
    subject.require(ok, f"`{name}` has the shape {tuple(ids.shape)}, not ({num_rows}, ...)", contract=contract)
    ok = bool((ids >= 0).all() and (ids < num_patches).all())
    subject.require(ok, f"`{name}` holds numbers outside of 0 to {num_patches - 1}", contract=contract)
    ok = all(len(row.unique()) == len(row) for row in ids)
    subject.require(ok, f"`{name}` holds a patch twice", contract=contract)


def _check_axes(subject: Subject, masker: Masker, grid: Grid, mask: Mask) -> None:
    """What is hidden must be hidden along the axes that `axes` leaves out."""
    with subject.attempt("axes", contract=subject.at("axes")):
        axes = masker.axes(grid)
    unknown = sorted(axes - set(grid.axes))
    subject.require(not unknown, f"axes names {unknown}, which the grid {grid} lacks", contract=subject.at("axes"))
    hidden = mask.hidden.reshape(-1, *grid.sizes)
    for place, axis in enumerate(grid.axes, start=1):
        shared = axis in axes or bool((hidden == hidden.narrow(place, 0, 1)).all())
        subject.require(shared, f"masks vary along the axis {axis!r}, which axes leaves out", contract=subject.at("axes"))


def _check_ratio(subject: Subject, masker: Masker, section: Mapping[str, Any], samples: _Samples) -> None:
    """A masker with another ratio must equal one that was built with it, because a schedule relies on this."""
    ratio = section["ratio"] * 0.8
    built = Part("maskers", {**section, "ratio": ratio}, Masker).build()
    built.load_state_dict(masker.state_dict())
    with subject.attempt("with_ratio", contract=subject.at("with_ratio")):
        changed = masker.with_ratio(ratio)
    found, expected = (_draw_or_refusal(each, samples) for each in (changed, built))
    same = found == expected if isinstance(found, str) or isinstance(expected, str) else _equal(found, expected)
    problem = "with_ratio gives another masker than one that is built with that ratio"
    subject.require(same, problem, contract=subject.at("with_ratio"))


def _draw_or_refusal(masker: Masker, samples: _Samples) -> tuple[Mask, ...] | str:
    try:
        return each_mask(_draw_any(masker, samples, seed=0))
    except MaeError as error:
        return str(error)


def _check_small_grids(subject: Subject, masker: Masker, samples: _Samples) -> None:
    """If it cannot mask a grid with a single patch or with unknown axes, it must say so."""
    if masker.needs == "backbone":
        return  # its latent is of another grid
    smallest, other = Grid(**dict.fromkeys(samples.grid.axes, 1)), Grid(another_axis=7)
    for small in (smallest, other):
        patches = torch.zeros(BATCH_SIZE, small.num_patches, PATCH_DIM)
        try:
            _draw_any(masker, _Samples(small, patches, None), seed=0)
        except MaeError:
            continue
        except Exception as error:
            problem = f"on the grid {small} it raises {type(error).__name__} ({error}), where ConfigError is asked for"
            raise AssertionError(f"{subject.owner}: {problem}. Contract: {subject.at('forward')}") from error

"""Check of maskers."""

import torch
from torch import Tensor

from mae_core.build_maskers import masker_from_section
from mae_core.interfaces import Grid, Mask, Masker, each_mask
from mae_core.testing.subject import Part, Section, Subject
from mae_registry import MaeError

BATCH_SIZE, NUM_SEEDS, PATCH_DIM = 4, 8, 5


def check_masker(section: Section, *, grid: Grid, deterministic: bool = False, patches: Tensor | None = None) -> None:
    """The contract of `mae_core.interfaces.Masker`, on this grid and on some that are too small.

    Args:
        section: the masker as in a recipe, also one made of others, e.g. `{"any": [...], "ratio": 0.75}`.
        grid: one that it can mask.
        deterministic: the mask does not depend on the generator.
        patches: (B, N, P) for a masker that needs them. Default: normal noise.
    """
    subject, masker = _masker(section)
    if patches is None:
        patches = torch.randn(BATCH_SIZE, grid.num_patches, PATCH_DIM, generator=torch.Generator().manual_seed(0))
    for progress in (0.0, 0.5, 1.0):
        _check_at(subject, masker, grid, patches, progress)
    if not deterministic:
        hidden = [torch.cat([m.hidden for m in _draw(subject, masker, grid, patches, seed)]) for seed in range(NUM_SEEDS)]
        problem = "the mask does not depend on the generator; if that is meant, check with deterministic=True"
        subject.require(any(not h.equal(hidden[0]) for h in hidden), problem, contract=subject.at("__call__"))
    _check_small_grids(subject, masker, grid)


def _masker(section: Section) -> tuple[Subject, Masker]:
    if isinstance(section, str) or "name" in section:
        part = Part("maskers", section, Masker)
        return part, part.build()
    subject = Subject(f"masker {dict(section)}", Masker)
    with subject.attempt("building it", contract="mae_core.build_maskers.masker_from_section"):
        return subject, masker_from_section(section)


def _check_at(subject: Subject, masker: Masker, grid: Grid, patches: Tensor, progress: float) -> None:
    """All that holds at one moment of training."""
    contract = subject.at("__call__")
    with subject.attempt(f"at({progress:g})", contract=subject.at("at")):
        masker = masker.at(progress)
    subject.require(isinstance(masker, Masker), f"at({progress:g}) gives no Masker", contract=subject.at("at"))
    with subject.leaves_global_generators_alone("drawing a mask", contract=contract):
        masks = _draw(subject, masker, grid, patches, seed=0)
    for mask in masks:
        _check_mask(subject, mask, grid)
        _check_axes(subject, masker, grid, mask)
    again = _draw(subject, masker, grid, patches, seed=0)
    equal = len(masks) == len(again) and all(
        one.hidden.equal(other.hidden) and one.ids_keep.equal(other.ids_keep) and one.ids_predict.equal(other.ids_predict)
        for one, other in zip(masks, again, strict=True)
    )
    subject.require(equal, "a generator of the same seed gives another mask", contract=contract)
    for mask in _draw(subject, masker, grid, patches[:1], seed=0):
        subject.require_shape(mask.hidden, (1, grid.num_patches), "`hidden` of one sample", contract=contract)


def _draw(subject: Subject, masker: Masker, grid: Grid, patches: Tensor, seed: int) -> tuple[Mask, ...]:
    """One mask or several, as a tuple."""
    generator = torch.Generator().manual_seed(seed)
    with subject.attempt(f"drawing a mask on the grid {grid}", contract=subject.at("__call__")):
        drawn = masker.guided_by(patches)(grid, len(patches), generator=generator)
    masks = each_mask(drawn)
    ok = isinstance(masks, tuple) and masks != () and all(isinstance(mask, Mask) for mask in masks)
    subject.require(ok, "it gives neither a Mask nor a tuple of them", contract=subject.at("__call__"))
    return masks


def _check_mask(subject: Subject, mask: Mask, grid: Grid) -> None:
    contract = "mae_core.interfaces.Mask"
    num_patches = grid.num_patches
    tensors = {"ids_keep": mask.ids_keep, "ids_predict": mask.ids_predict, "hidden": mask.hidden}
    for name, tensor in tensors.items():
        dtype = torch.bool if name == "hidden" else torch.int64
        subject.require(tensor.device.type == "cpu", f"`{name}` is not on the CPU", contract=subject.at("__call__"))
        subject.require(tensor.dtype == dtype, f"`{name}` is {tensor.dtype}, not {dtype}", contract=contract)
    subject.require_shape(mask.hidden, (BATCH_SIZE, num_patches), f"`hidden` on the grid {grid}", contract=contract)
    for name in ("ids_keep", "ids_predict"):
        _check_ids(subject, name, tensors[name], num_patches)
    counts = sorted(set(mask.hidden.sum(dim=1).tolist()))
    if mask.ragged:
        lists_all = mask.ids_keep.shape[1] == mask.ids_predict.shape[1] == num_patches
        subject.require(lists_all, "the mask is ragged, but its ids do not list all patches", contract=f"{contract}.ragged")
        return
    problem = f"rows of one batch hide different numbers of patches ({counts[0]} to {counts[-1]})"
    subject.require(len(counts) == 1, problem, contract=subject.at("__call__"))
    kept = torch.ones_like(mask.hidden).scatter(1, mask.ids_keep, False)
    subject.require(kept.equal(mask.hidden), "`hidden` is not what `ids_keep` leaves out", contract=f"{contract}.hidden")
    if mask.ids_restore is not None:
        together = torch.cat([mask.ids_keep, mask.ids_predict], dim=1)
        ok = mask.ids_restore.shape == mask.hidden.shape == together.shape
        ok = ok and bool((together.gather(1, mask.ids_restore) == torch.arange(num_patches)).all())
        problem = "`ids_restore` does not put kept and predicted patches back in raster order"
        subject.require(ok, problem, contract=f"{contract}.ids_restore")


def _check_ids(subject: Subject, name: str, ids: Tensor, num_patches: int) -> None:
    contract = f"mae_core.interfaces.Mask.{name}"
    ok = ids.ndim == 2 and len(ids) == BATCH_SIZE
    subject.require(ok, f"`{name}` has the shape {tuple(ids.shape)}, not ({BATCH_SIZE}, ...)", contract=contract)
    subject.require(
        ids.shape[1] > 0, f"`{name}` is empty: nothing is {'kept' if name == 'ids_keep' else 'predicted'}", contract=contract
    )
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


def _check_small_grids(subject: Subject, masker: Masker, grid: Grid) -> None:
    """It may not be able to mask a grid of one patch, or of unknown axes; then it says so."""
    smallest, other = Grid(**dict.fromkeys(grid.axes, 1)), Grid(another_axis=7)
    for small in (smallest, other):
        patches = torch.zeros(BATCH_SIZE, small.num_patches, PATCH_DIM)
        try:
            masker.guided_by(patches)(small, BATCH_SIZE, generator=torch.Generator().manual_seed(0))
        except MaeError:
            continue
        except Exception as error:
            problem = f"on the grid {small} it raises {type(error).__name__} ({error}), where ConfigError is asked for"
            raise AssertionError(f"{subject.owner}: {problem}. Contract: {subject.at('__call__')}") from error

"""Checks of tokenizers, positions and targets."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Positions, Seen, Target, TargetPlace, Tokenizer, gather_patches
from mae_core.parts.positions import SinCos
from mae_core.testing.modules import check_module, require_close
from mae_core.testing.subject import Part, Section, Subject
from mae_registry import MaeError

BATCH_SIZE, WIDTH = 3, 24


def check_tokenizer(section: Section, *, sample: Tensor | None = None) -> None:
    """The contract of `mae_core.interfaces.Tokenizer`.

    Args:
        section: the tokenizer as in a recipe. Check odd sizes and other numbers of channels by other sections.
        sample: a batch as a dataset loads it, (B, *sample_shape) with B of 2 or more. Default: uniform floats in 0..1.
    """
    subject = Part("tokenizers", section, Tokenizer)
    tokenizer: Tokenizer = subject.build(WIDTH)
    _check_geometry(subject, tokenizer)
    loaded = random_sample(tokenizer) if sample is None else sample
    x = _check_normalization(subject, tokenizer, loaded)
    patches = _check_round_trip(subject, tokenizer, x)
    _check_other_shapes(subject, tokenizer, x)
    _check_embedding(subject, tokenizer, patches)
    bare: Tokenizer = subject.build(None)
    subject.require(not list(bare.parameters()), "without a width it still has weights to embed with", contract=subject.at())

    def embed_all(part: Tokenizer) -> Tensor:
        patches = part.patchify(part.normalize(loaded))
        return part.embed(patches, torch.arange(patches.shape[1]).expand(len(patches), -1))

    check_module(subject, lambda: subject.build(WIDTH), embed_all)


def check_positions(section: Section, *, grid: Grid, width: int = WIDTH, extras: Extras = NO_EXTRAS) -> None:
    """The contract of `mae_core.interfaces.Positions`, on this grid.

    Args:
        section: the positions as in a recipe.
        grid, width: what they are built for.
        extras: those of 3 samples, where the positions depend on them.
    """
    subject = Part("positions", section, Positions)
    positions: Positions = subject.build(grid, width)
    ids = _shuffled(BATCH_SIZE, grid.num_patches)
    forward = subject.at("forward")
    with torch.no_grad(), subject.attempt("forward", contract=forward):
        every, few = positions(ids, extras), positions(ids[:, :2], extras)
    try:
        every, few = every.expand(*ids.shape, width), few.expand(*ids[:, :2].shape, width)
    except RuntimeError:
        expected = (*ids.shape, width)
        subject.require_shape(every, expected, f"the position of ids {tuple(ids.shape)} at width {width}", contract=forward)
    require_close(subject, few, every[:, :2], "a patch's position depends on which others are asked for", contract=forward)
    subject.require(bool(every.isfinite().all()), "positions are NaN or infinite", contract=forward)
    if (of_class := positions.class_position()) is not None:
        subject.require_shape(of_class, (1, 1, width), "the class token's position", contract=subject.at("class_position"))
    check_module(subject, lambda: subject.build(grid, width), lambda part: part(ids, extras) + torch.zeros(*ids.shape, width))


def check_target(section: Section, *, tokenizer: Section, sample: Tensor | None = None) -> None:
    """The contract of `mae_core.interfaces.Target`, for samples of this tokenizer.

    Args:
        section, tokenizer: as in a recipe.
        sample: as `check_tokenizer`.
    """
    subject = Part("targets", section, Target)
    of_tokenizer: Tokenizer = Part("tokenizers", tokenizer, Tokenizer).build(WIDTH)
    x = of_tokenizer.normalize(random_sample(of_tokenizer) if sample is None else sample)
    patches = of_tokenizer.patchify(x)
    place = TargetPlace("only", of_tokenizer, WIDTH, 1, lambda width: SinCos(of_tokenizer.grid, width))
    seen = Seen("only", x, patches, {}, None)
    make: Callable[[], Target] = lambda: subject.build(place)  # noqa: E731 - typed
    target = make()
    subject.require(target.momentum is None, "a target with a teacher is checked in a model", contract=subject.at("momentum"))
    truth = _check_what_is_predicted(subject, target, seen)
    pred = torch.randn(*patches.shape[:2], target.dim, generator=torch.Generator().manual_seed(1))
    _check_error(subject, target, pred, truth)
    if target.has_picture:
        _check_pictures(subject, target, patches)
    unit = torch.eye(target.dim)
    # a product, so that the prediction comes in bfloat16 where a decoder's does
    check_module(subject, make, lambda part: part.error(pred @ unit, part.prepare(seen)))


def random_sample(tokenizer: Tokenizer) -> Tensor:
    """(B, *sample_shape) uniform floats in 0..1, the same each time."""
    return torch.rand(BATCH_SIZE, *tokenizer.sample_shape, generator=torch.Generator().manual_seed(0))


def _shuffled(batch_size: int, num_patches: int) -> Tensor:
    """(B, N) ids, each row in an order of its own, the same each time."""
    return torch.rand(batch_size, num_patches, generator=torch.Generator().manual_seed(2)).argsort(dim=1)


def _check_geometry(subject: Subject, tokenizer: Tokenizer) -> None:
    for name, kind in (("grid", Grid), ("patch_dim", int), ("sample_shape", tuple)):
        found = getattr(tokenizer, name, None)
        problem = f"its {name} is {found!r}, which is no {kind.__name__}"
        subject.require(isinstance(found, kind), problem, contract=subject.at(name))


def _check_normalization(subject: Subject, tokenizer: Tokenizer, loaded: Tensor) -> Tensor:
    """`normalize` and back; returns what the model takes."""
    subject.require_shape(
        loaded[:1], (1, *tokenizer.sample_shape), "a sample of the check", contract=subject.at("sample_shape")
    )
    with subject.attempt("normalize and denormalize", contract=subject.at("normalize")):
        before = loaded.clone()
        x = tokenizer.normalize(loaded)
        drawn = tokenizer.denormalize(x)
    subject.require(loaded.equal(before), "normalize changes its argument", contract=subject.at("normalize"))
    for name, found in (("normalize", x), ("denormalize", drawn)):
        subject.require_shape(found, tuple(loaded.shape), f"what {name} returns", contract=subject.at(name))
        subject.require(bool(found.isfinite().all()), f"{name} gives NaN or infinity", contract=subject.at(name))
    subject.require(
        drawn.is_floating_point(), f"denormalize gives {drawn.dtype}, no floats", contract=subject.at("denormalize")
    )
    for values, shown in zip(loaded.flatten(1).double(), drawn.flatten(1).double(), strict=True):
        in_order = shown[values.argsort()].diff()
        problem = "denormalize does not undo normalize: larger values of a sample are drawn as smaller ones"
        subject.require(bool((in_order >= -1e-4 * shown.abs().max()).all()), problem, contract=subject.at("denormalize"))
    return x


def _check_round_trip(subject: Subject, tokenizer: Tokenizer, x: Tensor) -> Tensor:
    """`patchify` and back; returns the patches."""
    shape = (tokenizer.grid.num_patches, tokenizer.patch_dim)
    with subject.attempt("patchify", contract=subject.at("patchify")):
        patches, of_one = tokenizer.patchify(x), tokenizer.patchify(x[1:2])
    what = f"what patchify returns on the grid {tokenizer.grid}"
    subject.require_shape(patches, (len(x), *shape), what, contract=subject.at("patchify"))
    problem = "a sample's patches depend on the other samples"
    require_close(subject, of_one, patches[1:2], problem, contract=subject.at("patchify"))
    with subject.attempt("unpatchify", contract=subject.at("unpatchify")):
        again = tokenizer.unpatchify(patches)
    require_close(subject, again, x, "unpatchify does not undo patchify", contract=subject.at("unpatchify"))
    return patches


def _check_other_shapes(subject: Subject, tokenizer: Tokenizer, x: Tensor) -> None:
    for axis in range(1, x.ndim):
        wrong = torch.cat([x, x], dim=axis)
        try:
            tokenizer.patchify(wrong)
        except MaeError:
            continue
        except Exception as error:
            found = f"raises {type(error).__name__}"
        else:
            found = "is accepted"
        problem = (
            f"a sample of shape {tuple(wrong.shape[1:])} instead of {tokenizer.sample_shape} {found}; MaeError is asked for"
        )
        subject.require(False, problem, contract=subject.at("patchify"))


def _check_embedding(subject: Subject, tokenizer: Tokenizer, patches: Tensor) -> None:
    every = torch.arange(patches.shape[1]).expand(len(patches), -1)
    ids = _shuffled(*patches.shape[:2])[:, : max(1, patches.shape[1] // 3)]
    with torch.no_grad(), subject.attempt("embed", contract=subject.at("embed")):
        tokens = tokenizer.embed(patches, every)
        of_few = tokenizer.embed(gather_patches(patches, ids), ids)
    subject.require_shape(tokens, (*patches.shape[:2], WIDTH), "what embed returns", contract=subject.at("embed"))
    problem = "a patch's token depends on which other patches are kept"
    require_close(subject, of_few, gather_patches(tokens, ids), problem, contract=subject.at("embed"))


def _check_what_is_predicted(subject: Subject, target: Target, seen: Seen) -> Tensor:
    """What is to be predicted at all patches."""
    contract = subject.at("prepare")
    with torch.no_grad(), subject.attempt("prepare", contract=contract):
        before = seen.patches.clone()
        truth = target.prepare(seen)
        of_one = target.prepare(replace(seen, x=seen.x[1:], patches=seen.patches[1:]))
    subject.require(seen.patches.equal(before), "it changes the patches that it is given", contract=contract)
    shape = tuple(seen.patches.shape[:2])
    subject.require(tuple(truth.shape[:2]) == shape, f"it prepares {tuple(truth.shape)} of {shape} patches", contract=contract)
    problem = "what is to be predicted of a sample depends on the other samples"
    require_close(subject, of_one.float(), truth[1:].float(), problem, contract=contract)
    return truth


def _check_error(subject: Subject, target: Target, pred: Tensor, truth: Tensor) -> None:
    contract = subject.at("error")
    pred = pred.clone().requires_grad_()
    counts = torch.zeros(pred.shape[:2], dtype=torch.bool)
    counts[:, ::2] = True
    counts[-1] = False  # a sample of which nothing counts
    with subject.attempt("error and weight", contract=contract):
        error, weight = target.error(pred, truth), target.weight(counts)
    subject.require_shape(error, tuple(pred.shape[:2]), "the error of each prediction", contract=contract)
    subject.require_shape(weight, tuple(pred.shape[:2]), "the weights", contract=subject.at("weight"))
    with subject.attempt("the gradient of the loss", contract=contract):
        (error * weight).sum().backward()
    gradient = torch.zeros_like(pred) if pred.grad is None else pred.grad
    finite = bool(error.isfinite().all() and weight.isfinite().all() and gradient.isfinite().all())
    problem = "an error, a weight or a gradient is NaN or infinite (one sample has no patch that counts)"
    subject.require(finite, problem, contract=contract)
    subject.require(not bool(weight[~counts].any()), "what does not count has a weight", contract=subject.at("weight"))
    subject.require(bool(gradient[counts].any()), "predictions that count do not change the loss", contract=contract)


def _check_pictures(subject: Subject, target: Target, patches: Tensor) -> None:
    pred = torch.rand(*patches.shape[:2], target.dim, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), subject.attempt("to_patches and raw_patches", contract=subject.at("to_patches")):
        drawn, raw = target.to_patches(pred, patches), target.raw_patches(pred)
        of_others = target.to_patches(pred, patches.roll(1, dims=0))
    for name, found in (("to_patches", drawn), ("raw_patches", raw)):
        subject.require_shape(found, tuple(patches.shape), f"what {name} returns", contract=subject.at(name))
    if not target.raw_differs:
        problem = "to_patches looks at the true patches, though raw_differs says that it does not"
        require_close(subject, of_others, drawn, problem, contract=subject.at("raw_differs"))

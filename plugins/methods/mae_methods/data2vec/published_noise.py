"""Which noise a published decoder was given, found from the errors of its predictions.

The noise is not in the file. It was drawn by torch's generator from a seed, and given to the hidden patches in the order in
which a sort that is not stable left them, which depends on the processor. But predictions depend on it, to the first order
linearly, so that least squares nearly say what it was. That tells the seed, and which patch has which part of the draw. Whether
both are right is shown by the predictions, which then agree to the last digits, and otherwise not at all.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vjp

SEEDS = range(1000)
SURE = 4
"""Differences above so many standard deviations of the noise are taken for ones whose sign the noise does not turn."""
DAMPINGS = (0.01, 0.001, 0.0001)
"""Of one solution after the other: the first is far from where decoding is linear."""
NUM_ITERATIONS = 100

Decode = Callable[[Tensor], Tensor]
"""Noise (rows, M, D) of hidden patches -> their predictions (rows, M, T)."""


def find_noise(decode: Decode, truth: Tensor, difference: Tensor, *, width: int, std: float) -> tuple[Tensor, int]:
    """The noise (rows, M, D) of the hidden patches, and the seed of the draw.

    `difference` is how far the published predictions are from `truth`, (rows, M, T), without its sign.
    """
    noise, seed = torch.zeros(*truth.shape[:2], width), 0
    drawn = [_draw(seed, noise.shape, std=std) for seed in SEEDS]
    for damping in DAMPINGS:
        estimate = _estimate(decode, noise, truth, difference, sure=SURE * std, damping=damping)
        likeness = torch.stack([(estimate @ each.transpose(1, 2)).amax(dim=2).mean() for each in drawn])
        seed = SEEDS[int(likeness.argmax())]
        part = _assign(estimate @ drawn[seed].transpose(1, 2))
        noise = drawn[seed].gather(1, part.unsqueeze(-1).expand_as(noise))
    return noise, seed


def _draw(seed: int, shape: torch.Size, *, std: float) -> Tensor:
    return std * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _assign(likeness: Tensor) -> Tensor:
    """(rows, M, M) -> (rows, M): for each patch another part of the draw, the likeliest pairs first."""
    left, rows = likeness.clone(), torch.arange(len(likeness))
    assigned = torch.zeros(likeness.shape[:2], dtype=torch.int64)
    for _ in range(likeness.shape[1]):
        patch, part = torch.unravel_index(left.flatten(1).argmax(dim=1), likeness.shape[1:])
        assigned[rows, patch] = part
        left[rows, patch], left[rows, :, part] = -torch.inf, -torch.inf
    return assigned


def _estimate(decode: Decode, noise: Tensor, truth: Tensor, difference: Tensor, *, sure: float, damping: float) -> Tensor:
    """The noise that explains the differences best, with decoding taken for linear around `noise`; (rows, M, D)."""
    pred, transposed, *_ = vjp(decode, noise)
    found = pred - truth
    is_sure = found.abs() > sure

    # the transpose of the transpose: how predictions change, without torch's forward mode, which warns
    _, forward, *_ = vjp(lambda u: transposed(u)[0], torch.zeros_like(pred))

    def changed(x: Tensor) -> Tensor:
        return torch.where(is_sure, forward(x)[0], 0)

    # of all noise, and not of what is wrong with it: what does not show in predictions must not stay as it is
    wanted = torch.where(is_sure, found.sign() * difference - found, 0) + changed(noise)
    return _solve(lambda x: transposed(changed(x))[0] + damping * x, transposed(wanted)[0])


def _solve(apply: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """Conjugate gradients: x for which `apply(x)` is b."""
    x, rest = torch.zeros_like(b), b
    direction, size = rest, rest.square().sum()
    for _ in range(NUM_ITERATIONS):
        image = apply(direction)
        step = size / (direction * image).sum()
        x, rest = x + step * direction, rest - step * image
        before, size = size, rest.square().sum()
        direction = rest + size / before * direction
    return x

"""Which samples make each step of a run: a function of the seed alone, whatever loads them and wherever a run resumes."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from mae_core.interfaces import Draws
from mae_core.masking.sampling import derive_seed
from mae_core.runs.page import counted
from mae_registry import ConfigError

STEPS_OF_A_SMALL_EPOCH = 8
"""Steps that an epoch has at least with the batch size that is suggested for few samples, if there are as many samples."""

MAX_STEPS = 2**25
"""Of a run: the source of each is settled at the start."""
MAX_WEIGHTED = 2**24
"""Samples that `torch.multinomial` draws from."""


class Key(NamedTuple):
    """One sample of one epoch of one source; a pass over a source's data is its epoch."""

    source: str
    epoch: int
    sample: int


def count_batches(lengths: Mapping[str, int], batch_size: int) -> dict[str, int]:
    """Whole batches that each source has in an epoch. Raises ConfigError for a source that does not fill one."""
    for name, length in lengths.items():
        if length < batch_size:
            suggested = 2 ** max(0, (length // STEPS_OF_A_SMALL_EPOCH).bit_length() - 1)
            raise ConfigError(
                f"data.{name}: {counted(length, 'sample')} an epoch {'does' if length == 1 else 'do'} not fill one batch of "
                f"train.batch_size={batch_size}; "
                f"lower it, for example to train.batch_size={suggested}"
            )
    return {name: length // batch_size for name, length in lengths.items()}


def source_shares(num_batches: Mapping[str, int], weights: Mapping[str, float] | None) -> dict[str, float]:
    """How often a step takes each source, by weight or else in proportion to its batches. Raises ConfigError."""
    weights = num_batches if weights is None else weights
    if set(weights) != set(num_batches):
        raise ConfigError(
            f"train.weights names {', '.join(sorted(weights))}, but the data are {', '.join(sorted(num_batches))}"
        )
    return {name: float(weights[name]) for name in num_batches}


class Plan:
    """Every step takes one batch of one source, drawn by weight; each source's samples are shuffled, or drawn by weight too.

    A source is one modality's data, or paired data. An epoch is as many steps as all sources together have whole batches; with
    one source that is one pass over its data.

    Args:
        sizes: samples of each source.
        weights: how often each source comes; None: in proportion to its batches.
        draws: how an epoch is drawn from sources whose samples do not come once each.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        batch_size: int,
        num_epochs: int,
        seed: int,
        weights: Mapping[str, float] | None = None,
        draws: Mapping[str, Draws] | None = None,
    ) -> None:
        self.sizes = dict(sizes)
        self.batch_size = batch_size
        self.seed = seed
        self.draws = dict(draws or {})
        self._orders: dict[str, tuple[int, torch.Tensor]] = {}
        for name, drawn in self.draws.items():
            if len(drawn.weights) > MAX_WEIGHTED:
                raise ConfigError(
                    f"data.{name}: {len(drawn.weights):,} samples are too many to draw by weight, which torch does for up to "
                    f"{MAX_WEIGHTED:,}; leave `balanced` out"
                )
            if drawn.number > (possible := int((drawn.weights > 0).sum())):
                raise ConfigError(
                    f"data.{name}: an epoch is {drawn.number} samples, none of them twice, but there are {possible} to take; "
                    "take fewer"
                )
        lengths = {name: self.draws[name].number if name in self.draws else size for name, size in sizes.items()}
        self.num_batches = count_batches(lengths, batch_size)
        self.steps_per_epoch = sum(self.num_batches.values())
        self.num_steps = self.steps_per_epoch * num_epochs
        if self.num_steps > MAX_STEPS:
            raise ConfigError(
                f"train.epochs={num_epochs} are {self.num_steps:,} steps, and the most are {MAX_STEPS:,}; take fewer epochs "
                "or a larger train.batch_size"
            )
        shares = source_shares(self.num_batches, weights)
        generator = torch.Generator().manual_seed(derive_seed(seed, "source"))
        self._drawn = torch.multinomial(
            torch.tensor([shares[name] for name in sizes]), self.num_steps, replacement=True, generator=generator
        )
        one_hot = torch.nn.functional.one_hot(self._drawn, len(sizes))
        self._earlier = (one_hot.cumsum(0) - one_hot).gather(1, self._drawn[:, None])[:, 0]

    def source(self, step: int) -> str:
        """The modality whose batch step `step` takes (the first step is 0)."""
        return list(self.sizes)[int(self._drawn[step])]

    def keys(self, step: int) -> list[Key]:
        """The samples of a step's effective batch, in order."""
        source = self.source(step)
        epoch, batch = divmod(int(self._earlier[step]), self.num_batches[source])
        order = self._order(source, epoch)
        chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return [Key(source, epoch, index) for index in chosen.tolist()]

    def _order(self, source: str, epoch: int) -> torch.Tensor:
        """Of a source, that of one epoch is kept: 8 bytes for each sample."""
        if self._orders.get(source, (None,))[0] != epoch:
            self._orders[source] = epoch, self._draw_order(source, epoch)
        return self._orders[source][1]

    def _draw_order(self, source: str, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", source, epoch))
        if (draws := self.draws.get(source)) is not None:
            drawn = torch.multinomial(draws.weights, draws.number, generator=generator)
            # those of large weight are drawn first, but should not be trained on first
            return drawn[torch.randperm(draws.number, generator=generator)]
        return torch.randperm(self.sizes[source], generator=generator)


class MicroBatches(Sampler[list[Key]]):
    """The plan's samples from `first_step` on, those that are this device's, cut into what it holds at once."""

    def __init__(self, plan: Plan, *, device_batch: Mapping[str, int], share: range, first_step: int) -> None:
        """`share`: which of an effective batch's samples are this device's."""
        self.plan = plan
        self.device_batch = device_batch
        self.share = share
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.first_step, self.plan.num_steps):
            keys = self.plan.keys(step)[self.share.start : self.share.stop]
            size = self.device_batch[keys[0].source]
            for start in range(0, len(keys), size):
                yield keys[start : start + size]

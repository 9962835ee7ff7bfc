"""Which patches of each sample are kept, predicted and hidden."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mae_registry import MaeError


@dataclass  # not frozen: Lightning Fabric copies a model's outputs field by field
class Query:
    """What a decoder is asked for at once: M patches of each row, and how much each prediction counts in the loss."""

    ids: Tensor
    """(rows, M) int64: the patches that are predicted."""
    counts: Tensor
    """(rows, M) bool, or float weights: the share that each prediction has in the loss."""


@dataclass
class Mask:
    """The contexts of a batch and what is predicted from them. N patches, K kept, M queried; `rows` is samples x `repeats`.

    In the paper's case there is one query: the hidden patches, all of which count. Queries need be neither complements of the
    context nor disjoint: VideoMAE V2 predicts half of all patches and counts the hidden ones, I-JEPA has four overlapping
    queries that all count.
    """

    ids_keep: Tensor
    """(rows, K) int64: the patches that the encoder sees."""
    hidden: Tensor
    """(rows, N) bool, True = hidden from the encoder."""
    queries: tuple[Query, ...]
    ragged: bool = False
    """Rows hide different numbers of patches: `ids_keep` and the query list all N, for an encoder over all tokens."""
    repeats: int = 1
    """Contexts of each sample: row `b * repeats + r` is of sample b (data2vec 2.0 has sixteen)."""

    @classmethod
    def from_noise(cls, noise: Tensor, num_keep: int) -> "Mask":
        """Keep the `num_keep` patches of lowest noise (rows, N), by a stable argsort, so that equal noise is no ambiguity."""
        if not 0 <= num_keep <= noise.shape[1]:
            raise MaeError(f"num_keep is {num_keep}; it must be between 0 and the number of patches, {noise.shape[1]}")
        ids_shuffle = _stable_order(noise)
        ids_keep, ids_hidden = ids_shuffle[:, :num_keep], ids_shuffle[:, num_keep:]
        hidden = torch.ones_like(noise, dtype=torch.bool).scatter_(1, ids_keep, False)
        return cls(ids_keep, hidden, (Query(ids_hidden, torch.ones_like(ids_hidden, dtype=torch.bool)),))

    @classmethod
    def from_hidden(cls, hidden: Tensor, *, ragged: bool = False) -> "Mask":
        """Make a mask from (rows, N) bool, where True means hidden; ids are in raster order. Raises MaeError on unequal rows.

        `ragged`: rows may be unequal, and the mask is ragged even where by chance they are not.
        """
        if ragged:
            every = torch.arange(hidden.shape[1], device=hidden.device).expand_as(hidden)
            return cls(every, hidden, (Query(every, hidden),), ragged=True)
        num_hidden = hidden.sum(dim=1)
        if bool((num_hidden == num_hidden[0]).all()):
            num_keep = hidden.shape[1] - int(num_hidden[0])
            ids_keep, ids_hidden = _places(hidden.logical_not(), num_keep), _places(hidden, hidden.shape[1] - num_keep)
            return cls(ids_keep, hidden, (Query(ids_hidden, torch.ones_like(ids_hidden, dtype=torch.bool)),))
        counts = sorted(set(num_hidden.tolist()))
        raise MaeError(
            f"samples of one batch hide different numbers of patches ({counts[0]} to {counts[-1]} of {hidden.shape[1]}); "
            "make the masker's count exact, or say `ragged: true` with an encoder over all tokens (mask_tokens: true)"
        )

    @classmethod
    def cat(cls, masks: Sequence["Mask"]) -> "Mask":
        """The masks of several samples as one batch. Raises MaeError if they do not keep, or predict, equally many."""
        for what, numbers in {
            "keep different numbers of patches": [mask.num_keep for mask in masks],
            "predict different numbers of patches": [sum(query.ids.shape[1] for query in mask.queries) for mask in masks],
            "have different numbers of queries": [len(mask.queries) for mask in masks],
            "have different numbers of contexts": [mask.repeats for mask in masks],
        }.items():
            if len(set(numbers)) > 1:
                raise MaeError(f"samples of one batch {what} ({min(numbers)} to {max(numbers)})")
        return masks[0].map(lambda *parts: torch.cat(parts), *masks[1:])

    @property
    def ids_predict(self) -> Tensor:
        """(rows, M) int64: the patches of the first query, in the order of `out.pred`."""
        return self.queries[0].ids

    @property
    def num_keep(self) -> int:
        """K."""
        return self.ids_keep.shape[1]

    def asking(self, *queries: Query | Tensor) -> "Mask":
        """The same contexts with other queries. Of ids alone, those predictions count whose patches are hidden."""
        asked = (q if isinstance(q, Query) else Query(q, self.hidden.gather(1, q)) for q in queries)
        return replace(self, queries=tuple(asked))

    def each_query(self) -> Iterator["Mask"]:
        """One mask a query, all of the same contexts."""
        return (replace(self, queries=(query,)) for query in self.queries)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Mask":
        """The same mask on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def __getitem__(self, samples: slice) -> "Mask":
        """The mask of some samples of the batch, with all their contexts."""
        start, stop, step = samples.indices(len(self.hidden) // self.repeats)
        assert step == 1, "samples of a batch are taken in their order"
        return self.map(lambda tensor: tensor[start * self.repeats : stop * self.repeats])

    def map(self, function: Callable[..., Tensor], *others: "Mask") -> "Mask":
        """`function` of each tensor, together with the same one of `others`."""
        masks = (self, *others)
        queries = tuple(
            Query(function(*(query.ids for query in same)), function(*(query.counts for query in same)))
            for same in zip(*(mask.queries for mask in masks), strict=True)
        )
        return Mask(
            function(*(mask.ids_keep for mask in masks)),
            function(*(mask.hidden for mask in masks)),
            queries,
            any(mask.ragged for mask in masks),
            self.repeats,
        )


def _places(which: Tensor, num_true: int) -> Tensor:
    """(rows, N) bool, `num_true` of each row True -> (rows, `num_true`) int64: where they are, in raster order."""
    places = torch.from_numpy(np.flatnonzero(which.cpu().numpy())).to(which.device)  # much faster than Tensor.nonzero
    starts = which.shape[1] * torch.arange(len(which), device=which.device)
    return places.reshape(len(which), num_true) - starts[:, None]


def _stable_order(noise: Tensor) -> Tensor:
    """What torch.argsort(noise, dim=1, stable=True) gives, in a tenth of its time for float32 numbers on a CPU.

    A row's numbers and their places are packed into integers, which numpy sorts with vector instructions. The tensors with
    which `mae cost` counts hold no numbers that numpy could sort.
    """
    if type(noise) is not Tensor or noise.dtype != torch.float32 or noise.device.type != "cpu":
        return torch.argsort(noise, dim=1, stable=True)
    bits = torch.where(noise.isnan(), torch.nan, noise).view(torch.int32)  # a NaN may have a sign, and comes last
    packed = torch.where(bits < 0, -(bits & 0x7FFF_FFFF), bits).to(torch.int64)  # a float's bits are its sign and magnitude
    packed <<= 32
    packed |= torch.arange(noise.shape[1])
    packed.numpy().sort(axis=1)
    packed &= 0xFFFF_FFFF
    return packed


MaskSets = Mask | tuple[Mask, ...]
"""What a masker draws: one mask, or several contexts of the same samples that keep different numbers of patches."""


def each_mask(masks: MaskSets) -> tuple[Mask, ...]:
    """The masks, also where it is one."""
    return (masks,) if isinstance(masks, Mask) else masks


def gather_patches(x: Tensor, ids: Tensor) -> Tensor:
    """(B, N, ...), (B * repeats, K) -> (B * repeats, K, ...): some patches of each sample, of each of its contexts."""
    rows = x.shape[0]  # and not len(x), which would be a constant in what torch.export makes
    repeats = ids.shape[0] // rows
    index = ids.reshape(rows, repeats, -1, *[1] * (x.ndim - 2)).expand(-1, -1, -1, *x.shape[2:])
    return x.unsqueeze(1).expand(-1, repeats, *x.shape[1:]).gather(2, index).flatten(0, 1)  # no copy of x for each context

"""What a dataset loads and a model takes: a tensor, or a tensor with extras."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

Extras = Mapping[str, Tensor]
"""Named tensors that travel with a sample: a label, time stamps, where each point lies, a second view."""

NO_EXTRAS: Extras = MappingProxyType({})


@dataclass  # not frozen: Lightning Fabric copies what a model is given field by field
class Sample:
    """A sample with its extras; in batches, every tensor has the batch as its first axis."""

    x: Tensor
    extras: Extras = field(default_factory=dict)


def as_sample(given: Tensor | Sample) -> Sample:
    """A tensor alone is a sample without extras."""
    return given if isinstance(given, Sample) else Sample(given)


def with_views(sample: Sample) -> Sample:
    """A sample as its only view: every tensor, extras included, gets the views as its first axis."""
    return Sample(sample.x.unsqueeze(0), {name: extra.unsqueeze(0) for name, extra in sample.extras.items()})


def first_view(sample: Sample) -> Sample:
    """One view of a sample whose tensors have the views as their first axis."""
    return Sample(sample.x[0], {name: extra[0] for name, extra in sample.extras.items()})


def repeat_extras(extras: Extras, repeats: int) -> Extras:
    """Every sample's extras for each of its contexts: (B, ...) -> (B * repeats, ...)."""
    return extras if repeats == 1 else {name: tensor.repeat_interleave(repeats, dim=0) for name, tensor in extras.items()}

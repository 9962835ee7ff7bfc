"""Check of datasets."""

import pickle
import random
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from mae_core.interfaces import LABEL, Dataset, Preview, Sample, as_sample
from mae_core.testing.subject import Part, Section, Subject


def check_dataset(section: Section, *, sample_shape: Sequence[int]) -> None:
    """The contract of `mae_core.interfaces.Dataset`.

    Args:
        section: the dataset as in a recipe, e.g. `{"name": "my_folder", "root": str(folder)}`, with two samples or more.
        sample_shape: the tokenizer's.
    """
    subject = Part("datasets", section, Dataset)
    shape = tuple(sample_shape)
    dataset: Dataset = subject.build(shape)
    size = len(dataset)
    subject.require(size >= 2, f"it has {size} samples; the check needs 2", contract=subject.at("__len__"))
    _check_labels(subject, dataset)
    views = () if dataset.num_views == 1 else (dataset.num_views,)
    contract = subject.at("load")
    with subject.leaves_global_generators_alone("load", contract=contract):
        first = _load(subject, dataset, 0)
        last = _load(subject, dataset, size - 1)
    with subject.attempt("read", contract=subject.at("read")):
        unaugmented = as_sample(dataset.read(0)).x
    with subject.attempt("read_views", contract=subject.at("read_views")):
        test_views = dataset.read_views(0).x
    for sample in (first, last):
        subject.require_shape(sample, (*views, *shape), "a sample", contract=contract)
    subject.require_shape(unaugmented, shape, "what read(0) gives", contract=subject.at("read"))
    several = (dataset.num_test_views, *shape)
    subject.require_shape(test_views, several, "what read_views(0) gives", contract=subject.at("read_views"))
    for sample in (first, last, unaugmented, test_views):
        subject.require(bool(sample.isfinite().all()), "a sample holds NaN or infinity", contract=contract)
    torch.manual_seed(1)
    random.seed(1)
    problem = "load(0) with an equal generator gives another sample the second time: it depends on more than its arguments"
    subject.require(_load(subject, dataset, 0).equal(first), problem, contract=contract)
    with subject.attempt("pickling it for a worker process", contract=subject.at()):
        copy: Dataset = pickle.loads(pickle.dumps(dataset))
    problem = "a copy in a worker process loads another sample"
    subject.require(_load(subject, copy, size - 1).equal(last), problem, contract=subject.at())
    described = dataset.describe(0)
    ok = isinstance(described, str) and described != ""
    subject.require(ok, f"describe(0) is {described!r}, no text", contract=subject.at("describe"))
    _check_previews(subject, dataset, shape)


def _check_labels(subject: Subject, dataset: Dataset) -> None:
    labels = dataset.labels
    if labels is None:
        return
    contract = "mae_core.interfaces.Labels"
    num_targets, size, num_classes = len(labels.targets), len(dataset), len(labels.names)
    subject.require(num_targets == size, f"there are {num_targets} targets for {size} samples", contract=contract)
    in_order = list(labels.names) == sorted(set(labels.names))
    subject.require(in_order, "the names of classes are not sorted, or not different", contract=contract)
    highest = labels.targets.shape[1] if labels.several else int(labels.targets.max()) + 1
    ok = highest == num_classes if labels.several else int(labels.targets.min()) >= 0 and highest <= num_classes
    subject.require(ok, f"the targets are not those of {num_classes} classes", contract=contract)
    with subject.attempt("read", contract=subject.at("read")):
        extras = as_sample(dataset.read(size - 1)).extras
    ok = LABEL in extras and extras[LABEL].equal(labels.targets[size - 1])
    subject.require(ok, f"read gives another {LABEL!r} than `labels` says, or none", contract=subject.at("labelled"))


def _load(subject: Subject, dataset: Dataset, index: int) -> Tensor:
    with subject.attempt(f"load({index})", contract=subject.at("load")):
        loaded = dataset.load(index, random=Random(5))
    problem = f"load gives a {type(loaded).__name__}, neither a tensor nor a Sample"
    subject.require(isinstance(loaded, Tensor | Sample), problem, contract=subject.at("load"))
    sample = as_sample(loaded)
    loose = [name for name, extra in sample.extras.items() if not isinstance(extra, Tensor)]
    subject.require(not loose, f"the extras {', '.join(loose)} are no tensors", contract="mae_core.interfaces.Sample")
    return sample.x


def _check_previews(subject: Subject, dataset: Dataset, shape: tuple[int, ...]) -> None:
    contract = subject.at("previews")
    with subject.attempt("previews", contract=contract):
        none, two, again = (list(dataset.previews(count)) for count in (0, 2, 2))
    problem = f"previews gives {len(none)} and {len(two)} where up to 0 and 2 are asked for"
    subject.require(not none and len(two) <= 2, problem, contract=contract)
    for preview, other in zip(two, again, strict=True):
        subject.require(isinstance(preview, Preview), f"previews gives a {type(preview).__name__}", contract=contract)
        subject.require_shape(preview.sample, shape, f"the preview {preview.title!r}", contract=contract)
        equal = preview.title == other.title and preview.sample.equal(other.sample)
        subject.require(equal, "previews are others the second time", contract=contract)

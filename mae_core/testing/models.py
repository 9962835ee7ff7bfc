"""Check of a modality: all its parts together in a small model."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae_core.build import build_model
from mae_core.build import modality as find_modality
from mae_core.config import Config, load_config
from mae_core.interfaces import BadSample, Modality, Preview, Sample, Tokenizer, as_sample, with_views
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.pictures.reconstruction import has_picture, reconstruct
from mae_core.runs.checkpoint import Checkpoint, load_model, plugin_versions, write_checkpoint
from mae_core.testing.modules import check_module, require_close
from mae_core.testing.parts import random_sample
from mae_core.testing.subject import GUIDE, Subject
from mae_registry import resolve

ENCODER = {"name": "vit", "width": 24, "depth": 1, "heads": 2}
PARTS = ("tokenizer", "positions", "masker", "decoder", "target")


def check_modality(
    name: str, parts: Mapping[str, Any] | None = None, *, sample: Tensor | Sample | None = None, file: Path | None = None
) -> None:
    """The contract of `mae_core.interfaces.Modality`, and its parts' in a model with a small encoder.

    The model's loss is repeatable, reaches every weight, survives bfloat16, compilation and a checkpoint; there is a
    picture of its predictions.

    Args:
        name: the modality's.
        parts: sections that differ from its defaults, as under `model.modalities.NAME`: make the model small.
        sample: a batch as a dataset loads it, (B, *sample_shape), with extras if it has any. Default: uniform floats in 0..1.
        file: one that `read` reads.
    """
    subject = Subject(f"modality {name!r}", Modality)
    modality = _look_up(subject, name)
    with subject.attempt("building its model", contract=subject.at("defaults")):
        config = load_config({"model": {"encoder": ENCODER, "modalities": {name: dict(parts or {})}}})
        model = build_model(config)
    tokenizer = model.parts(name).tokenizer
    loaded = as_sample(random_sample(tokenizer) if sample is None else sample)
    samples = {name: Sample(tokenizer.normalize(loaded.x), loaded.extras)}
    _check_gradients(subject, model, samples)
    masks = model.draw_masks(samples, len(loaded.x), generator=torch.Generator().manual_seed(0))
    check_module(subject, lambda: build_model(config), lambda part: part(samples, masks=masks).loss, whole=False)
    _check_checkpoint(subject, model, config, samples)
    if file is not None:
        found = _check_reading(subject, modality, tokenizer, file)
        loaded = with_views(found)
    if has_picture(model, name):
        _check_picture(subject, modality, model, loaded)


def _look_up(subject: Subject, name: str) -> Modality:
    with subject.attempt("looking it up", contract="mae_registry.hookspecs"):
        modality = find_modality(name)
    subject.require(isinstance(modality, Modality), "it is no Modality", contract=subject.at())
    subject.require(modality.name == name, f"it calls itself {modality.name!r}", contract=subject.at("name"))
    if missing := [part for part in PARTS if "name" not in modality.defaults.get(part, {})]:
        subject.require(False, f"its defaults name no {', no '.join(missing)}", contract=subject.at("defaults"))
    for function in ("read", "picture"):
        with subject.attempt(f"importing `{function}`", contract=subject.at()):
            found = resolve(getattr(modality, function))
        subject.require(callable(found), f"`{function}` is no function", contract=subject.at())
    wrong = [suffix for suffix in modality.file_suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
    subject.require(not wrong, f"{wrong} must be lower case with the dot", contract=subject.at("file_suffixes"))
    return modality


def _loss(model: MaskedAutoencoder, samples: Mapping[str, Sample]) -> Tensor:
    """The loss, with the same masks each time."""
    return model(samples, generator=torch.Generator().manual_seed(0)).loss


def _check_gradients(subject: Subject, model: MaskedAutoencoder, samples: Mapping[str, Sample]) -> None:
    """The loss is a finite number and depends on every weight."""
    with subject.attempt("a step of training", contract="mae_core.model.autoencoder.MaskedAutoencoder"):
        loss = _loss(model.train(), samples)
        loss.backward()
    subject.require(bool(loss.isfinite()), f"the loss is {loss.item()}", contract=subject.at())
    weights = [(key, weight.grad) for key, weight in model.named_parameters() if weight.requires_grad]
    unused = [key for key, grad in weights if grad is None or not bool(grad.isfinite().all())]
    problem = f"no finite gradient reaches {', '.join(unused)}, which training on several devices refuses"
    subject.require(not unused, problem, contract=GUIDE)
    model.zero_grad()


def _check_checkpoint(subject: Subject, model: MaskedAutoencoder, config: Config, samples: Mapping[str, Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder, subject.attempt("a checkpoint, written and read", contract=GUIDE):
        path = Path(folder) / "model.pt"
        write_checkpoint(path, Checkpoint(0, config.to_yaml(), model.state_dict(), {}, plugin_versions(config)))
        loaded, _, _ = load_model(path)
    with torch.no_grad():
        found, expected = (_loss(m.eval(), samples) for m in (loaded, model))
    require_close(subject, found, expected, "the model of its checkpoint has another loss", contract=GUIDE)


def _check_reading(subject: Subject, modality: Modality, tokenizer: Tokenizer, file: Path) -> Sample:
    """`read` on the file, and on one of the same ending that holds no sample."""
    read = resolve(modality.read)
    known = file.suffix.lower() in modality.file_suffixes
    subject.require(known, f"{file.suffix} is not among its file_suffixes", contract=subject.at("file_suffixes"))
    with subject.attempt(f"reading {file.name}", contract=subject.at()):
        found = as_sample(read(file, tokenizer))
    subject.require_shape(found.x, tokenizer.sample_shape, f"the sample in {file.name}", contract=subject.at())
    with tempfile.TemporaryDirectory() as folder:
        for content in (b"", b"no sample"):
            broken = Path(folder) / f"broken{file.suffix}"
            broken.write_bytes(content)
            _check_bad_sample(subject, lambda: read(broken, tokenizer), f"a file that holds {content!r}")  # noqa: B023 - at once
    return found


def _check_bad_sample(subject: Subject, read: Callable[[], object], what: str) -> None:
    try:
        read()
    except BadSample:
        return
    except Exception as error:
        problem = f"reading {what} raises {type(error).__name__} ({error}), where BadSample is asked for"
        raise AssertionError(f"{subject.owner}: {problem}. Contract: mae_core.interfaces.BadSample") from error
    subject.require(False, f"{what} is read as a sample", contract="mae_core.interfaces.BadSample")


def _check_picture(subject: Subject, modality: Modality, model: MaskedAutoencoder, loaded: Sample) -> None:
    previews = [
        Preview(f"sample {index}", x, "held out", {key: extra[index] for key, extra in loaded.extras.items()})
        for index, x in enumerate(loaded.x)
    ]
    with tempfile.TemporaryDirectory() as folder, subject.attempt("a picture of reconstructions", contract=subject.at()):
        path = Path(folder) / "picture.png"
        written = resolve(modality.picture)(reconstruct(model, modality.name, previews), path)
        is_png = path.is_file() and path.read_bytes().startswith(b"\x89PNG")
        found = set(Path(folder).iterdir())
        says_all = isinstance(written, Sequence) and {Path(each) for each in written} == found
    subject.require(is_png, "picture(reconstructions, path) writes no PNG to `path`", contract=subject.at())
    subject.require(says_all, "picture(reconstructions, path) must return every path that it wrote", contract=subject.at())

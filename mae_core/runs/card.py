"""The card of an exported encoder: what it is, what it was trained on, how well it does, for those who are given the file."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from mae_core.build import modality_of
from mae_core.config import Config
from mae_core.config.structure import TASK
from mae_core.files import write_atomically
from mae_core.model.backbone import Backbone
from mae_core.registry import registry
from mae_core.runs.results import read_results
from mae_core.version import __version__

TO_FILL_IN = "to be filled in by whoever publishes the file"


def card_beside(weights: Path) -> Path:
    """The card of a file of weights."""
    return weights.with_suffix(".md")


def write_card(weights: Path, backbone: Backbone, config: Config) -> None:
    """The card of an encoder in the folder of the run that made it."""
    text = model_card(backbone, config, weights.name, source=weights.parent)
    write_atomically(card_beside(weights), lambda file: file.write(text.encode()))


def model_card(
    backbone: Backbone,
    config: Config,
    file: str,
    *,
    source: Path,
    layout: str | None = None,
    step: int | None = None,
) -> str:
    """Markdown, with a front matter as the hubs read it. `source`: where the weights come from; its results are reported."""
    lines = ["---", f"license: # {TO_FILL_IN}", "library_name: mae-core", "tags: [masked-autoencoder]", "---", ""]
    lines += [f"# {file}", "", _origin(config), ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in _facts(backbone, config, layout, step)), ""]
    lines += ["## Data", "", f"Description: {TO_FILL_IN}.", "", *_data(config), ""]
    lines += ["## Measured results", "", *_results(source), ""]
    lines += ["## Certificate", "", *_certificates(config), ""]
    lines += ["## Licence", "", f"{TO_FILL_IN[0].upper()}{TO_FILL_IN[1:]}.", ""]
    return "\n".join([*lines, "## Recipe of the model", "", "```yaml", _recipe(config), "```", ""])


def _origin(config: Config) -> str:
    """What was done with it, in a sentence."""
    task = config.get("task.name", TASK)
    if task == TASK:
        return "An encoder that was pre-trained as a masked autoencoder."
    began = "a checkpoint" if config.get("init.checkpoint") else "random weights"
    return f"An encoder as a run of the task `{task}` left it, which began with {began}."


def _facts(backbone: Backbone, config: Config, layout: str | None, step: int | None) -> Iterator[tuple[str, str]]:
    encoder = config["model"]["encoder"]
    yield (
        "encoder",
        ", ".join(f"{key} {encoder[key]}" for key in ("name", "width", "depth", "depths", "heads") if key in encoder),
    )
    for entry in backbone.inputs:
        tokenizer = backbone.input(entry).tokenizer
        yield f"samples of {entry}", f"{' x '.join(map(str, tokenizer.sample_shape))}, {tokenizer.grid}"
    yield "parameters", f"{sum(parameter.numel() for parameter in backbone.parameters()):,}"
    yield "recipe", config.based_on or config.name
    if step is not None:
        yield "steps", f"{step:,}"
    yield "names of the weights", "those of this project" if layout is None else f"layout `{layout}`"
    yield "written by", f"mae-core {__version__}"


def _data(config: Config) -> Iterator[str]:
    """The datasets of the recipe, without where they lay: that is nobody else's business."""
    sections = config.to_dict().get("data", {})
    for entry, section in sections.items():
        options = ", ".join(
            f"{key}: {value}" for key, value in section.items() if key not in ("name", "root", "labels") and value is not None
        )
        yield f"- {entry}: `{section['name']}` ({options})"
    if not sections:
        yield "The recipe names no data."


def _results(source: Path) -> Iterator[str]:
    results = read_results(source) if source.is_dir() else None
    if results is None:
        yield "None were found beside the weights. `mae finetune`, `mae probe` and `mae knn` measure them."
        return
    for metric in results.metrics:
        seeds = f"seed{'s' if len(results.seeds) > 1 else ''} {', '.join(map(str, results.seeds))}"
        yield f"- {results.protocol}, {metric}: {results.mean(metric):.4f} ({seeds})"
    for deviation in results.deviations or []:
        yield f"- differs from the published protocol: {deviation}"


def _certificates(config: Config) -> Iterator[str]:
    """What can be verified; whether it has been is not known."""
    types = {modality_of(config, entry) for entry in config["model"]["modalities"]}
    plugins = {registry().get("modalities", name).plugin for name in types}
    names = [component.name for component in registry() if component.kind == "certificates" and component.plugin in plugins]
    if not names:
        yield "No published numbers exist that this kind of model could be compared with."
        return
    yield (
        f"`mae verify {' '.join(sorted(names))}` compares the implementation with published numbers. It says nothing about "
        "these weights, and was not run when this card was written."
    )


def _recipe(config: Config) -> str:
    return yaml.safe_dump({"model": config.to_dict()["model"]}, sort_keys=False).rstrip()

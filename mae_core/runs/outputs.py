"""What a run leaves for people and for other programs, beside its checkpoints."""

import datetime
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mae_core.build import modality as find_modality
from mae_core.config import Config
from mae_core.interfaces import Dataset, Tokenizer, as_sample
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.pictures.reconstruction import reconstruct
from mae_core.runs.checkpoint import plugin_versions
from mae_core.runs.page import counted
from mae_core.runs.results import Draw
from mae_core.version import __version__
from mae_registry import resolve

NUM_PREVIEWS = 8


def _picture(folder: Path, step: int, entry: str) -> Path:
    return folder / "pictures" / f"step-{step:08d}-{entry}.png"


def remove_pictures(folder: Path, *, after_step: int) -> None:
    """Remove the pictures that a resumed run will write again."""
    for path in (folder / "pictures").glob("step-*"):
        if path.name > f"step-{after_step:08d}~":  # "~" sorts behind everything that follows a step's number
            path.unlink()


def write_picture(model: MaskedAutoencoder, entry: str, dataset: Dataset, folder: Path, step: int) -> None:
    """`pictures/step-N-ENTRY.png`: the dataset's previews, with the same masks at every step."""
    previews = dataset.previews(NUM_PREVIEWS)
    if previews:  # none where no file can be read, of which the run tells elsewhere
        write = resolve(find_modality(model.backbone.types[entry]).picture)
        write(reconstruct(model, entry, previews), _picture(folder, step, entry))


def draw_samples(backbone: Backbone, entry: str, dataset: Dataset, indices: Sequence[int]) -> Draw | None:
    """What writes pictures of samples of `dataset`, un-augmented; None where the modality cannot show a single sample.

    indices: the numbers in the dataset of those samples that were predicted. A `Draw` is called with a place among them.
    """
    show = find_modality(backbone.types[entry]).show
    if show is None:
        return None
    tokenizer: Tokenizer = backbone.input(entry).tokenizer

    def draw(place: int, path: Path) -> None:
        x = as_sample(dataset.read(indices[place])).x[None].to(next(backbone.parameters()).device)
        resolve(show)(tokenizer.denormalize(tokenizer.normalize(x))[0].cpu(), path)

    return draw


def count_parameters(model: nn.Module) -> int:
    """The number of trained parameters, without teachers and other frozen parts."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def describe_device(device: torch.device, *, number: int = 1) -> str:
    """What a person would call it, or so many of it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    return name if number == 1 else f"{number} x {name}"


def describe_run(
    config: Config, model: nn.Module, *, device: torch.device, num_devices: int, precision: str, status: str
) -> dict[str, Any]:
    """Facts for `run.json` and the report."""
    return {
        "recipe": config.name,
        **({} if config.based_on is None else {"based_on": config.based_on}),
        "task": config["task.name"],
        "status": status,
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "trainable_parameters": count_parameters(model),
        "device": describe_device(device, number=num_devices),
        "precision": precision,
        "versions": {"python": platform.python_version(), "mae-core": __version__, "torch": torch.__version__},
        "plugins": plugin_versions(config),
    }

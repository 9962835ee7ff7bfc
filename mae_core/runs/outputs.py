"""What a run leaves for people and for other programs, beside its checkpoints."""

import datetime
import platform
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import save

from mae_core.build import modality as find_modality
from mae_core.runs.checkpoint import plugin_versions
from mae_core.config import Config
from mae_core.pictures.reconstruction import reconstruct
from mae_core.files import write_atomically
from mae_core.interfaces import Dataset
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.version import __version__
from mae_registry import resolve

NUM_PREVIEWS = 8


def _picture(folder: Path, step: int, modality: str) -> Path:
    return folder / "pictures" / f"step-{step:08d}-{modality}.png"


def remove_pictures(folder: Path, *, after_step: int) -> None:
    """Those that a resumed run will draw again."""
    for path in (folder / "pictures").glob("step-*"):
        if path.name > f"step-{after_step:08d}~":  # "~" sorts behind everything that follows a step's number
            path.unlink()


def draw_pictures(model: MaskedAutoencoder, modality: str, dataset: Dataset, folder: Path, step: int) -> None:
    """`pictures/step-N-MODALITY.png`: the dataset's previews, with the same masks at every step."""
    previews = dataset.previews(NUM_PREVIEWS)
    if previews:  # none where no file can be read, of which the run tells elsewhere
        resolve(find_modality(modality).picture)(reconstruct(model, modality, previews), _picture(folder, step, modality))


def save_encoder(model: MaskedAutoencoder, config: Config, folder: Path) -> None:
    """`encoder.safetensors`: what a later task needs, by this project's names; the recipe is in the metadata."""
    inputs = [f"modalities.{name}.{part}." for name in model.modalities for part in ("tokenizer", "positions")]
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if name.startswith(("encoder.", *inputs))
    }
    content = save(tensors, metadata={"config": config.to_yaml()})
    write_atomically(folder / "encoder.safetensors", lambda file: file.write(content))


def describe_run(config: Config, model: MaskedAutoencoder, fabric: Fabric, status: str) -> dict[str, Any]:
    """Facts for `run.json` and the report."""
    return {
        "recipe": config.name,
        "status": status,
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "precision": str(fabric.strategy.precision.precision),
        "versions": {"python": platform.python_version(), "mae-core": __version__, "torch": torch.__version__},
        "plugins": plugin_versions(config),
    }

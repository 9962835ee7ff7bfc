"""Checkpoints: one file each, complete, written atomically, and loaded without running code from them."""

import argparse
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae_core.build import build_model
from mae_core.config import Config, load_config
from mae_core.config.structure import TASK, component_sections
from mae_core.config.yaml_tree import parse_yaml, plain
from mae_core.files import write_atomically
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.registry import registry
from mae_registry import MaeError

FORMAT = 1
FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d{8,})\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is needed to continue a run, or to use its model."""

    step: int
    """Optimizer steps done."""
    config: str
    """The resolved recipe, as YAML."""
    model: dict[str, Tensor]
    training: dict[str, Any]
    """The states of the optimizer and of the fp16 scaler, and what was found out at the start."""
    plugins: dict[str, str]
    """Versions of the plugins that the task and the model's parts come from."""


class DamagedCheckpoint(MaeError):
    """A file that is no whole checkpoint of this project."""


def plugin_versions(config: Config) -> dict[str, str]:
    """The versions of the plugins that the task and the parts of this recipe's model come from."""
    tree = {key: section for key, section in config.to_dict().items() if key in ("model", "task")}
    used = {registry().get(kind, section["name"]).plugin for _, kind, section in component_sections(tree)}
    return {plugin.name: plugin.version for plugin in registry().plugins if plugin.name in used}


def save_checkpoint(run: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `run/checkpoints/step-N.pt` and delete all but the newest `keep`."""
    path = run / FOLDER / f"step-{checkpoint.step:08d}.pt"
    write_checkpoint(path, checkpoint)
    for old in list_checkpoints(run)[keep:]:
        old.unlink()
    return path


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """One file, atomically. Raises MaeError where it cannot be written; older ones stay as they are."""
    content = {"format": FORMAT, **{name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}}
    try:
        write_atomically(path, lambda file: torch.save(content, file))
    except RuntimeError as error:  # torch makes one of whatever the file system says
        needed = sum(tensor.numel() * tensor.element_size() for tensor in checkpoint.model.values())
        free = shutil.disk_usage(path.parent).free
        raise MaeError(
            f"cannot write {path}: it needs more than {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free there, "
            "or less with a quota; make room and go on with --resume"
        ) from error


def list_checkpoints(run: Path) -> Sequence[Path]:
    """A run's checkpoints, newest first."""
    paths = (path for path in (run / FOLDER).glob("step-*.pt") if _NAME.fullmatch(path.name))
    return sorted(paths, key=lambda path: path.name, reverse=True)


def load_newest(run: Path) -> Checkpoint | None:
    """A run's newest whole checkpoint, None if it has none at all. Damaged ones are skipped with a warning."""
    paths = list_checkpoints(run)
    for path in paths:
        try:
            return load_checkpoint(path)
        except DamagedCheckpoint as error:
            warnings.warn(f"skipped a damaged checkpoint: {error}", stacklevel=2)
    if paths:
        raise MaeError(f"every checkpoint in {run / FOLDER} is damaged; start the run again in another folder")
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one file, on the CPU. Raises DamagedCheckpoint, or MaeError for a file that would run code."""
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedCheckpoint(
            f"{path} is not a checkpoint of this project; to import published weights: "
            f"mae convert {path} -o CHECKPOINT.pt --from LAYOUT --recipe RECIPE"
        )
    return Checkpoint(**{name: content[name] for name in Checkpoint.__dataclass_fields__})


def load_tensors(path: Path) -> Any:
    """Whatever safe content a `torch.save` file holds: tensors and plain types. Raises as `load_checkpoint`."""
    try:
        _require_whole_archive(path)
        # the published MAE checkpoints hold their arguments too
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise MaeError(f"there is no checkpoint {path.absolute()}") from None
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # bytes that are no pickle of any kind that torch writes
            raise DamagedCheckpoint(f"{path} is damaged, or is not a checkpoint") from error
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"would call {found.group(1)}" if found else "may run code"
        raise MaeError(
            f"{path} was refused: it holds more than tensors and {what} when loaded; do not open it elsewhere"
        ) from error
    except MaeError:
        raise
    except OSError as error:
        raise MaeError(f"cannot read the checkpoint {path.absolute()}: {error.strerror}") from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise DamagedCheckpoint(f"{path} is damaged, or is not a checkpoint ({_first_line(error)})") from error


def _require_whole_archive(path: Path) -> None:
    """torch.load compares no checksums. (What is no archive may be a file of the format before it.)"""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():
                raise DamagedCheckpoint(f"{path} is damaged: the checksum of its part {part} is wrong")


def find_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint file, or the newest checkpoint of a run's folder. Raises MaeError where there is none."""
    if path.suffix == ".safetensors" and path.is_file():
        raise MaeError(
            f"{path} is not a whole checkpoint: an encoder.safetensors holds a backbone without decoders and teachers. "
            f"Give the run's folder, or one of its {FOLDER}/step-*.pt"
        )
    if not path.is_dir():
        return load_checkpoint(path)
    checkpoint = load_newest(path)
    if checkpoint is None:
        raise MaeError(f"{path.absolute()} is a folder without {FOLDER}/step-*.pt; give a run's folder or a checkpoint file")
    return checkpoint


def load_model(path: str | Path) -> tuple[MaskedAutoencoder, Config, int]:
    """The model of a checkpoint file or of a run's folder (its newest checkpoint), its config, and its step."""
    path = Path(path)
    checkpoint = find_checkpoint(path)
    require_plugins(checkpoint, path)
    config = load_config_text(checkpoint.config)
    if (task := config.get("task.name", TASK)) != TASK:
        raise MaeError(
            f"{path} comes from the task {task!r} and not from pre-training; mae_core.load_backbone can read its backbone"
        )
    model = build_model(config, fresh=False)
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise MaeError(f"{path} does not fit the model that its own recipe describes here: {_first_line(error)}") from error
    return model.eval(), config, checkpoint.step


def load_config_text(text: str) -> Config:
    """The config that a checkpoint stores."""
    return load_config(plain(parse_yaml(text, "checkpoint")))


def require_plugins(checkpoint: Checkpoint, path: Path) -> None:
    """Raise MaeError if a plugin that the checkpoint was made with is not loaded; warn if its version differs."""
    loaded = {plugin.name: plugin for plugin in registry().plugins if plugin.status == "loaded"}
    for name, version in checkpoint.plugins.items():
        made = f"{path} was made with plugin {name} {version}"
        if name not in loaded:
            how = "name its file with --plugin" if version == "local file" else f"install it with: mae install {name}"
            raise MaeError(f"{made}, which is not loaded; {registry().why_not_loaded(name) or how}")
        found = loaded[name]
        if found.version != version:
            how = f"; for the other: mae install '{found.distribution}=={version}'" if version != "local file" else ""
            warnings.warn(f"{made}; {found.version} is installed{how}", stacklevel=2)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120]

"""A registry of small components, so that these tests hold what configurations do and not what any real component takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from mae_core.config import Config, load_config
from mae_core.config.structure import RECIPE, SettingsSection
from mae_core.interfaces import Modality
from mae_core.section import Section
from mae_registry import Component, PluginRecord, Registry

Positive = Annotated[int, Field(gt=0)]
Ratio = Annotated[float, Field(gt=0, lt=1)]


class Vit:
    def __init__(self, built: object = None, *, width: Positive, depth: Positive = 12, mlp_ratio: float = 4.0) -> None: ...


class Patches:
    def __init__(self, width: int, *, input_size: tuple[int, int], patch_size: tuple[int, int] = (16, 16)) -> None: ...


class Plain:
    """Takes nothing from a recipe."""


class Random:
    def __init__(self, *, ratio: Ratio, over: list[str] | None = None) -> None: ...


class Block:
    def __init__(self, *, ratio: Ratio = 0.4, exact: bool = True) -> None: ...


class Pixels:
    def __init__(self, tokenizer: object, *, normalize: Literal["patch", "none"] = "patch") -> None: ...


class Folder:
    def __init__(self, sample_shape: object, *, root: str | None = None, crop: tuple[float, float] = (0.2, 1.0)) -> None: ...


def adamw(
    model: object, *, base_lr: float = 1e-3, weight_decay: float = 0.05, betas: tuple[float, float] = (0.9, 0.95)
) -> None: ...


def unannotated(model: object, *, momentum=0.9) -> None: ...


def unserializable(model: object, *, kind: object = Plain) -> None: ...


def unreadable(model: "Tensor", *, lr: float = 0.1) -> None: ...  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


def cosine(epochs: int, *, warmup: float | Literal["auto"] = 40) -> None: ...


class Head:
    def __init__(self, width: int, *, pool: Literal["mean", "cls"] = "mean") -> None: ...


class Classify:
    def __init__(
        self,
        config: object,
        *,
        num_classes: Positive,
        head: Annotated[Mapping[str, Any], Section("heads")] = {"name": "linear"},
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Train:
    epochs: Positive
    seed: int = 0
    device_batch_size: Positive | Literal["auto"] = "auto"


IMAGE = Modality(
    name="image",
    defaults={
        "tokenizer": {"name": "patches", "input_size": [224, 224]},
        "positions": {"name": "none"},
        "masker": {"name": "random", "ratio": 0.75},
        "decoder": {"name": "vit", "width": 512, "depth": 8},
        "target": {"name": "pixels"},
    },
    read="",
    picture="",
)

_COMPONENTS = {
    "encoders": {"vit": "Vit"},
    "tokenizers": {"patches": "Patches"},
    "positions": {"none": "Plain"},
    "maskers": {"random": "Random", "block": "Block"},
    "decoders": {"vit": "Vit"},
    "targets": {"pixels": "Pixels"},
    "datasets": {"folder": "Folder"},
    "optimizers": {
        "adamw": "adamw",
        "unannotated": "unannotated",
        "unreadable": "unreadable",
        "unserializable": "unserializable",
    },
    "schedules": {"cosine": "cosine"},
    "heads": {"linear": "Head"},
    "tasks": {"pretrain": "Plain", "classify": "Classify"},
    "modalities": {"image": "IMAGE"},
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The components above; `train` is `Train`."""
    monkeypatch.setitem(RECIPE, "train", SettingsSection(f"{__name__}:Train"))
    registry = Registry()
    for kind, names in _COMPONENTS.items():
        for name, target in names.items():
            registry.add(Component(kind, name, f"{__name__}:{target}", "fake"))
    return registry


@pytest.fixture
def broken_plugin(registry: Registry) -> None:
    registry.plugins.append(PluginRecord("video", "mae-video", "1", "broken", cause="ImportError: no decoder", fix="remove it"))


@pytest.fixture
def load(registry: Registry) -> Callable[..., Config]:
    """`load_config` with that registry."""

    def load(source: Any, *overrides: str) -> Config:
        return load_config(source, overrides, registry=registry)

    return load


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a file into the working folder, an empty one, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write

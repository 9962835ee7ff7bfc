"""Masked autoencoders for any modality. Importing this package imports no torch: names are resolved on first use (PEP 562)."""

import importlib
from typing import TYPE_CHECKING, Any

from mae_core.version import __version__

if TYPE_CHECKING:
    from mae_core.build import build_model
    from mae_core.config import Config, load_config
    from mae_core.interfaces import Grid, Mask
    from mae_core.layouts.published import export_state_dict, import_state_dict
    from mae_core.runs.backbone import load_backbone
    from mae_core.runs.checkpoint import load_model

_HOMES = {
    "Config": "mae_core.config",
    "Grid": "mae_core.interfaces",
    "Mask": "mae_core.interfaces",
    "build_model": "mae_core.build",
    "export_state_dict": "mae_core.layouts.published",
    "import_state_dict": "mae_core.layouts.published",
    "load_backbone": "mae_core.runs.backbone",
    "load_config": "mae_core.config",
    "load_model": "mae_core.runs.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mae_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Config",
    "Grid",
    "Mask",
    "__version__",
    "build_model",
    "export_state_dict",
    "import_state_dict",
    "load_backbone",
    "load_config",
    "load_model",
]

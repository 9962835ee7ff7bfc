"""Masked autoencoders for any modality. Importing this package imports no torch: names are resolved on first use (PEP 562)."""

import importlib
from typing import TYPE_CHECKING, Any

from mae_core.version import __version__

if TYPE_CHECKING:
    from mae_core.build import build_model
    from mae_core.config import Config, load_config
    from mae_core.interfaces import Grid, Mask
    from mae_core.layouts.published import export_state_dict, import_state_dict

_HOMES = {
    "Config": "mae_core.config",
    "Grid": "mae_core.interfaces",
    "Mask": "mae_core.interfaces",
    "build_model": "mae_core.build",
    "export_state_dict": "mae_core.layouts.published",
    "import_state_dict": "mae_core.layouts.published",
    "load_config": "mae_core.config",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mae_core' has no attribute {name!r}")


__all__ = [
    "Config",
    "Grid",
    "Mask",
    "__version__",
    "build_model",
    "export_state_dict",
    "import_state_dict",
    "load_config",
]

"""Import strings -> objects."""

import importlib
from typing import Any


def resolve(target: str) -> Any:
    """The object that "package.module:name" says, e.g. a function of a modality."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)

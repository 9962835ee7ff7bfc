"""Everything a plugin can add, on one page.

A plugin is a module named by an entry point of the group `mae.plugins`. It states `MAE_API = 1`, imports no torch,
and decorates functions with the names below with `mae_registry.hookimpl`. Each gets `register(name, "package.module:Object")`;
the import string is resolved only when the component is used.
"""

from typing import Protocol

import pluggy

PROJECT = "mae"
API_VERSION = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """`register(name, "package.module:Object")`: adds one component of the hook's kind."""

    def __call__(self, name: str, target: str) -> None:
        """Add it."""


@hookspec
def register_tokenizers(register: Register) -> None:
    """Tokenizers: a sample <-> patches on a named grid. `mae_core.interfaces.Tokenizer`."""


@hookspec
def register_positions(register: Register) -> None:
    """Position embeddings of a grid. `mae_core.interfaces.Positions`."""


@hookspec
def register_maskers(register: Register) -> None:
    """Maskers: which positions of a grid are hidden. `mae_core.interfaces.Masker`."""


@hookspec
def register_encoders(register: Register) -> None:
    """Encoders of the visible tokens. `mae_core.interfaces.Encoder`."""


@hookspec
def register_decoders(register: Register) -> None:
    """Decoders: context tokens and queried positions -> predictions. `mae_core.interfaces.Decoder`."""


@hookspec
def register_targets(register: Register) -> None:
    """Targets: what is predicted, and the loss. `mae_core.interfaces.Target`."""


@hookspec
def register_datasets(register: Register) -> None:
    """Datasets: numbered samples, loaded with their augmentation. `mae_core.interfaces.Dataset`."""


@hookspec
def register_layouts(register: Register) -> None:
    """Checkpoint layouts: the names and shapes of a published family. `mae_core.interfaces.Layout`."""


@hookspec
def register_modalities(register: Register) -> None:
    """Modalities: the parts' defaults, reading and pictures of files. `mae_core.interfaces.Modality`."""


@hookspec
def register_terms(register: Register) -> None:
    """Terms: further losses beside the targets' own. `mae_core.interfaces.Term`."""


@hookspec
def register_heads(register: Register) -> None:
    """Heads: what the encoder returned -> one score a class. `mae_core.interfaces.Head`."""


@hookspec
def register_optimizers(register: Register) -> None:
    """Optimizers: the parameters in groups, and the peak learning rate. `mae_core.interfaces.MakeOptimizer`."""


@hookspec
def register_schedules(register: Register) -> None:
    """Schedules: the learning rate and weight decay over a run. `mae_core.interfaces.Schedule`."""


@hookspec
def register_tasks(register: Register) -> None:
    """Tasks: what a trainer trains, such as pre-training or classification. `mae_core.interfaces.Task`."""


@hookspec
def register_certificates(register: Register) -> None:
    """Certificates: comparisons with published numbers, for `mae verify`. `mae_core.interfaces.Certify`."""


KINDS = (
    "tokenizers",
    "positions",
    "maskers",
    "encoders",
    "decoders",
    "targets",
    "datasets",
    "layouts",
    "modalities",
    "terms",
    "heads",
    "optimizers",
    "schedules",
    "tasks",
    "certificates",
)

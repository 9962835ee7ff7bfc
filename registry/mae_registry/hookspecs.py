"""Everything that a plugin can add, on one page.

A plugin is a module that is named by an entry point of the group `mae.plugins`. It states `MAE_API = 1`, does not import torch,
and has functions with the names below that are decorated with `mae_registry.hookimpl`. Each of them is given a function
`register(name, "package.module:Object")`. The import string is resolved only when the component is used.
"""

from typing import Protocol

import pluggy

PROJECT = "mae"
API_VERSION = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """`register(name, "package.module:Object")` adds one component of the hook's kind."""

    def __call__(self, name: str, target: str) -> None:
        """Add the component."""


@hookspec
def register_tokenizers(register: Register) -> None:
    """Tokenizers cut samples into patches on a named grid. `mae_core.interfaces.Tokenizer`."""


@hookspec
def register_positions(register: Register) -> None:
    """Positions tell tokens where their patches lie on the grid. `mae_core.interfaces.Positions`."""


@hookspec
def register_maskers(register: Register) -> None:
    """Maskers decide which patches are hidden, and which are predicted. `mae_core.interfaces.Masker`."""


@hookspec
def register_encoders(register: Register) -> None:
    """Encoders turn what is visible into a latent. `mae_core.interfaces.Encoder`."""


@hookspec
def register_decoders(register: Register) -> None:
    """Decoders make predictions from a latent. `mae_core.interfaces.Decoder`."""


@hookspec
def register_targets(register: Register) -> None:
    """Targets define what is predicted, and the error of a prediction. `mae_core.interfaces.Target`."""


@hookspec
def register_quantizers(register: Register) -> None:
    """Quantizers are frozen, and give each patch the id of a token. `mae_core.interfaces.Quantizer`."""


@hookspec
def register_datasets(register: Register) -> None:
    """Datasets load numbered samples, with their augmentation. `mae_core.interfaces.Dataset`."""


@hookspec
def register_layouts(register: Register) -> None:
    """Layouts know the names and shapes in published checkpoints. `mae_core.interfaces.Layout`."""


@hookspec
def register_modalities(register: Register) -> None:
    """Modalities give defaults for all parts, read files, and write pictures. `mae_core.interfaces.Modality`."""


@hookspec
def register_terms(register: Register) -> None:
    """Terms add further losses to those of the targets. `mae_core.interfaces.Term`."""


@hookspec
def register_heads(register: Register) -> None:
    """Heads make one score for each class from a latent. `mae_core.interfaces.Head`."""


@hookspec
def register_optimizers(register: Register) -> None:
    """Optimizers group the parameters, and set the peak learning rate. `mae_core.interfaces.MakeOptimizer`."""


@hookspec
def register_schedules(register: Register) -> None:
    """Schedules give the learning rate and the weight decay over a run. `mae_core.interfaces.Schedule`."""


@hookspec
def register_tasks(register: Register) -> None:
    """Tasks define what is trained, such as pre-training or classification. `mae_core.interfaces.Task`."""


@hookspec
def register_certificates(register: Register) -> None:
    """Certificates compare with published numbers, for `mae verify`. `mae_core.interfaces.Certify`."""


KINDS = (
    "tokenizers",
    "positions",
    "maskers",
    "encoders",
    "decoders",
    "targets",
    "quantizers",
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

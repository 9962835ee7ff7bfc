"""What the project uses of Lightning Fabric. Every other module imports it from here.

Lightning Fabric compares the version of torchmetrics when it is imported, and for that it would import all of torchmetrics,
which imports scipy, and transformers where that is installed: seconds of CPU in each process of a run. Here it finds a
module that states the version and holds nothing else.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType


@contextmanager
def _version_alone(package: str) -> Generator[None]:
    """While it is open, `package` is imported as an empty module with its `__version__`, unless it has been imported before."""
    if package in sys.modules:
        yield
        return
    stand_in = ModuleType(package)
    stand_in.__dict__["__version__"] = metadata.version(package)
    sys.modules[package] = stand_in
    try:
        yield
    finally:
        del sys.modules[package]


with _version_alone("torchmetrics"):
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.plugins.precision import MixedPrecision
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    from lightning_fabric.strategies.strategy import Strategy

__all__ = [
    "ClusterEnvironment",
    "DDPStrategy",
    "Fabric",
    "LightningEnvironment",
    "MixedPrecision",
    "ModelParallelStrategy",
    "SLURMEnvironment",
    "Strategy",
    "TorchElasticEnvironment",
]

"""The data of a recipe."""

from mae_core.build import build_component, sample_shape
from mae_core.config import Config
from mae_core.interfaces import Dataset
from mae_registry import ConfigError


def build_datasets(config: Config) -> dict[str, Dataset]:
    """Each modality's data, in the order of the model's modalities. Raises ConfigError where one has none."""
    modalities, data = config["model"]["modalities"], config.get("data", {})
    if missing := [name for name in modalities if name not in data]:
        raise ConfigError(f"the model has the modality {missing[0]!r}, but there is no data.{missing[0]} to train it on")
    return {name: build_component("datasets", data[name], sample_shape(config, name)) for name in modalities}

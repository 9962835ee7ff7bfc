"""The data of a recipe."""

from mae_core.build import build_component, sample_shape
from mae_core.config import Config
from mae_core.interfaces import Dataset
from mae_registry import ConfigError


def build_dataset(config: Config) -> tuple[str, Dataset]:
    """The modality that a recipe trains on, and its data."""
    sections, trained = config["data"], list(config["model"]["modalities"])
    if list(sections) != trained or len(trained) != 1:
        raise ConfigError(
            f"data has {', '.join(sections) or 'nothing'}, the model {', '.join(trained) or 'nothing'}; "
            "a run trains one modality, named in both"
        )
    (modality,) = trained
    return modality, build_component("datasets", sections[modality], sample_shape(config, modality))

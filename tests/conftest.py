"""Small photographs and a small recipe, made on the fly."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_recipes import write_tiny_recipe

from mae_core import Config, load_config
from mae_core.registry import registry
from mae_registry import Component


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of 24 small JPEGs: smooth gradients with a little noise, all different."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for index in range(24):
        rows, columns = np.mgrid[0:40, 0:48] / 48
        channels = [np.sin(random.uniform(1, 6) * rows + random.uniform(1, 6) * columns) for _ in range(3)]
        pixels = 127 + 100 * np.stack(channels, axis=-1) + random.normal(0, 5, (40, 48, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"photo-{index:02}.jpg")
    return folder


@pytest.fixture
def tiny_recipe(tmp_path, photos) -> Path:
    """See `small_recipes.write_tiny_recipe`."""
    return write_tiny_recipe(tmp_path / "tiny.yaml", photos)


@pytest.fixture
def tiny_config(tiny_recipe) -> Config:
    return load_config(tiny_recipe)


@pytest.fixture
def largest_variance():
    """The masker of that name, which looks at the samples, is registered meanwhile."""
    registry().add(Component("maskers", "largest_variance", "largest_variance:LargestVariance", "core"))
    yield
    registry()._components.pop(("maskers", "largest_variance"))

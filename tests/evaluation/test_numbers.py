"""Files of published numbers: which are read, and what is said of those that do not do."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mae_core.interfaces import Published
from mae_registry import MaeError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One that may take the place of a file that ships with mae-image."""
    tensors = {"x": torch.ones(2), "state_dict/a": torch.zeros(1), "state_dict/b/c": torch.zeros(2)}
    save_file(tensors, tmp_path / "mae.safetensors", {"system": "mae", "meta": json.dumps({"cfg/depth": 3, "ec/depth": 4})})
    return tmp_path / "mae.safetensors"


def test_a_file_in_the_folder_replaces_the_one_that_ships(file: Path) -> None:
    published = Published("mae_image", file.parent)
    assert published.replaced() == ["mae.safetensors"]
    assert {"mae.safetensors", "multimae.safetensors", "mae_vit_base_patch16.json"} <= set(published.names())
    assert published.read("mae")["x"].tolist() == [1, 1]
    assert published.read("multimae").weights
    assert Published("mae_image").replaced() == []
    assert Published("mae_core").names() == []


def test_sizes_are_those_that_the_file_states(file: Path) -> None:
    numbers = Published("mae_image", file.parent).read("mae")
    assert (numbers.size("depth"), numbers.size("depth", part="ec")) == (3, 4)
    assert numbers.metadata["system"] == "mae"
    assert set(numbers.weights) == {"a", "b/c"}
    assert Published("mae_image").read("mae_pretrain_trajectory").size("embed_dim") == 48


def test_what_a_file_lacks_is_named(file: Path) -> None:
    numbers = Published("mae_image", file.parent).read("mae")
    with pytest.raises(MaeError, match=rf"{file} has no tensor 'pred'"):
        numbers["pred"]
    with pytest.raises(MaeError, match="has no tensors final_state_dict/"):
        numbers.under("final_state_dict")
    with pytest.raises(MaeError, match="do not state 'heads' of 'cfg'; they state depth"):
        numbers.size("heads")
    with pytest.raises(MaeError, match="state no 'recipe'"):
        _ = numbers.recipe


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{}", b"not a safetensors file"])
def test_a_damaged_file_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(MaeError, match=f"{file} is damaged"):
        Published("mae_image", file.parent).read("mae")

"""Files of weights as others write them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mae_core.runs.weights import DamagedCheckpoint, read_weights
from mae_registry import MaeError

TENSORS = {"blocks.0.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.ones(2)}


def same(found: object, expected: dict[str, Tensor] = TENSORS) -> bool:
    assert isinstance(found, dict)
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
@pytest.mark.parametrize("key", ["", "model", "state_dict", "model_state", "net"])
def test_prefixes_and_keys_are_taken_off(prefix: str, key: str, tmp_path: Path) -> None:
    tensors = {prefix + name: tensor for name, tensor in TENSORS.items()}
    others = {"optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}, "epoch": 3}
    torch.save({key: tensors, **others} if key else tensors, tmp_path / "weights.pth")
    found = read_weights(tmp_path / "weights.pth")
    assert same(found.tensors)
    assert found.notes == ()


def test_parts_that_were_compiled_one_by_one(tmp_path: Path) -> None:
    torch.save({"blocks.0._orig_mod.weight": TENSORS["blocks.0.weight"], "head.bias": torch.ones(2)}, tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth").tensors)


def test_averaged_weights_are_taken_when_asked_for(tmp_path: Path) -> None:
    average = {name: tensor + 1 for name, tensor in TENSORS.items()}
    torch.save({"model": TENSORS, "model_ema": average}, tmp_path / "w.pth")
    plain = read_weights(tmp_path / "w.pth")
    assert same(plain.tensors)
    assert "model_ema" in plain.notes[0]
    averaged = read_weights(tmp_path / "w.pth", averaged=True)
    assert same(averaged.tensors, average)
    torch.save({"model": TENSORS, "ema": {"module": average, "decay": 0.999}}, tmp_path / "deeper.pth")
    assert same(read_weights(tmp_path / "deeper.pth").tensors, TENSORS)
    assert same(read_weights(tmp_path / "deeper.pth", averaged=True).tensors, average)
    torch.save(
        {"state_dict_ema": {"n_averaged": torch.tensor(3), **{f"module.{n}": x for n, x in average.items()}}},
        tmp_path / "e.pth",
    )
    assert same(read_weights(tmp_path / "e.pth").tensors, average)
    torch.save(TENSORS, tmp_path / "plain.pth")
    save_file(TENSORS, tmp_path / "plain.safetensors")
    for name in ("plain.pth", "plain.safetensors"):
        with pytest.raises(MaeError, match=rf"{name} has no averaged weights"):
            read_weights(tmp_path / name, averaged=True)


def test_several_models_in_one_file_keep_their_names(tmp_path: Path) -> None:
    """As I-JEPA's checkpoints are."""
    wrapped = {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    torch.save({"encoder": wrapped, "predictor": wrapped, "opt": {"state": {}}, "epoch": 1}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth").tensors
    assert set(found) == {f"{part}.{name}" for part in ("encoder", "predictor") for name in TENSORS}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_said(kind: torch.dtype, tmp_path: Path) -> None:
    torch.save({name: tensor.to(kind) for name, tensor in TENSORS.items()}, tmp_path / "w.pth")
    (note,) = read_weights(tmp_path / "w.pth").notes
    assert str(kind).removeprefix("torch.") in note


def write_shards(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    places = {}
    for number, (name, tensor) in enumerate(TENSORS.items()):
        places[name] = f"model-{number}.safetensors"
        save_file({name: tensor}, folder / places[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text('{"hidden_size": 3}')
    return folder


def test_shards_are_read_together(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "sharded")
    for source in (folder, folder / "model.safetensors.index.json"):
        found = read_weights(source)
        assert same(found.tensors)
        assert found.beside == {"config.json": {"hidden_size": 3}}
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(MaeError, match=r"names model-1\.safetensors, which is not beside it"):
        read_weights(folder)


def test_what_lies_beside_one_of_several_files_of_weights_has_its_name(tmp_path: Path) -> None:
    for name, width in (("one", 1), ("other", 2)):
        save_file(TENSORS, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.config.json").write_text(json.dumps({"width": width}))
    (tmp_path / "config.json").write_text("{}")
    assert read_weights(tmp_path / "other.safetensors").beside == {"config.json": {"width": 2}}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"weight_map": ["a"]}'])
def test_damaged_indexes(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(DamagedCheckpoint):
        read_weights(tmp_path)


def test_an_index_reads_nothing_outside_its_folder(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "secret.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"head.bias": "../secret.safetensors"}}')
    with pytest.raises(MaeError, match="not beside it"):
        read_weights(folder)


def test_what_is_no_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(MaeError, match=r"w\.pth has no named tensors"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(MaeError, match=r"folder without model\.safetensors"):
        read_weights(tmp_path)
    with pytest.raises(MaeError, match="there is no file"):
        read_weights(tmp_path / "absent.safetensors")

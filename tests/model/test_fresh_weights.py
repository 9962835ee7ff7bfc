"""When the weights of frozen parts are read: for a model that begins, and never for one that is loaded or only looked at."""

import pytest
import torch

from mae_core import build_model, load_model
from mae_core.parts.pixels import Pixels
from mae_core.runs.checkpoint import Checkpoint, plugin_versions, write_checkpoint


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(Pixels, "read_weights", lambda self: found.append("read"))
    return found


def test_a_fresh_model_reads_them_once(tiny_config, reads):
    build_model(tiny_config)
    assert reads == ["read"]


def test_a_model_that_is_loaded_does_not(tiny_config, reads, tmp_path):
    model = build_model(tiny_config, fresh=False)
    path = tmp_path / "model.pt"
    write_checkpoint(path, Checkpoint(0, tiny_config.to_yaml(), model.state_dict(), {}, plugin_versions(tiny_config)))
    loaded, _, _ = load_model(str(path))
    assert reads == []
    assert loaded.state_dict().keys() == model.state_dict().keys()


def test_a_model_without_memory_does_not(tiny_config, reads):
    with torch.device("meta"):
        build_model(tiny_config)
    assert reads == []

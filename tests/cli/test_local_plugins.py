"""Code of one's own, by the option --plugin FILE.py."""

import pytest

LOCAL_PLUGIN = """
from mae_core.interfaces import Mask, Masker
from mae_registry import hookimpl

MAE_API = 1


class TopHalf(Masker):
    def __init__(self, *, ratio: float = 0.5):
        super().__init__()
        self.ratio = ratio

    def forward(self, grid, batch_size, *, generator):
        hidden = grid.coordinates()[:, 0] < grid["h"] * self.ratio
        return Mask.from_hidden(hidden.expand(batch_size, -1))


@hookimpl
def register_maskers(register):
    register("top_half", "{module}:TopHalf")
"""


def test_local_code_enters_by_an_explicit_option(forks, tiny_recipe, tmp_path):
    file = tmp_path / "my_masker.py"
    file.write_text(LOCAL_PLUGIN.replace("{module}", "my_masker"))
    chosen = "model.modalities.image.masker=top_half"
    run = ["pretrain", tiny_recipe, chosen, "train.epochs=2", "--out", tmp_path / "run"]
    assert "unknown maskers name 'top_half'" in forks.mae(*run).stderr
    done = forks.mae(*run, "--plugin", file)
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "out.png"
    assert forks.mae(f"--plugin={file}", "reconstruct", tmp_path / "run", "-o", picture).returncode == 0
    refused = forks.mae("reconstruct", tmp_path / "run", "-o", picture, "--overwrite")
    assert refused.returncode == 1
    assert "was made with plugin my_masker local file, which is not loaded" in refused.stderr


@pytest.mark.parametrize(
    ("name", "text", "phrase"),
    [
        ("absent.py", None, "No such file"),
        ("broken.py", "import nonsense_that_is_not_there", "No module named 'nonsense_that_is_not_there'"),
        ("old.py", "MAE_API = 0", "is written for MAE_API = 0; this mae-core has MAE_API = 1"),
        ("json.py", "MAE_API = 1", "there is a module 'json' already"),
        ("notes.txt", "MAE_API = 1", "not a Python file"),
    ],
)
def test_a_broken_local_plugin_is_named(forks, tmp_path, name, text, phrase):
    if text is not None:
        (tmp_path / name).write_text(text)
    done = forks.mae("plugins", "--plugin", tmp_path / name)
    assert done.returncode == 1
    assert f"--plugin {tmp_path / name}: " in done.stderr
    assert phrase in done.stderr
    assert "Traceback" not in done.stderr

"""Who may import whom, read from the source; what must not import torch, tried; and that the core names no modality."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from forks import Forks

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"version", "section", "interfaces", "plugin"},
    {"files", "registry"},
    {"data"},
    {"masking"},
    {"parts"},
    {"model"},
    {"layouts"},
    {"config"},
    {"build_maskers"},
    {"build"},
    {"pictures"},
    {"runs"},
    {"training"},
    {"evaluation"},
    {"tasks"},
    {"cost"},
    {"testing"},
    {"cli"},
]
"""Of mae_core, lowest first. A module imports only from lower layers, and from its own package."""
ALLOWED = re.compile(r"</?audio\b|\b(image/gif|audio/wav)\b|image/(png|mae_vit_base)|\bImage(Draw|Font)?\b|\bRGB\b")
"""A media type, the recipe that help texts give as their example, and Pillow's names: pictures of anything are images there."""
BUILDS_ON = {"mae_methods": ("mae_image", "mae_video")}
"""The one plugin that imports others, as it says in its dependencies."""
MODALITY_WORD = re.compile(r"(images?|videos?|audios?|photos?|photographs?|spectrograms?|waveforms?|imagenet|rgb|mels?)")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in it; but for type checking only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read by this test"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not is_type_checking(node):
            yield from imported(node)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def python_files(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, folder
    return files


def plugin_packages() -> dict[str, str]:
    """Import package -> folder, of every plugin in the repository."""
    found = {p.parent.name: str(p.parent.relative_to(ROOT)) for p in (ROOT / "plugins").glob("*/mae_*/__init__.py")}
    assert "mae_image" in found
    return found


def forbidden_imports(folder: str, forbidden: Sequence[str]) -> list[str]:
    """ "file: module" for every import of a forbidden package."""
    return [
        f"{file.relative_to(ROOT)}: {name}"
        for file in python_files(folder)
        for name in imported(parse(file))
        if name.split(".")[0] in forbidden
    ]


def layer_of(part: str) -> int:
    found = [i for i, layer in enumerate(LAYERS) if part in layer]
    assert found, f"mae_core.{part} has no layer: add it to LAYERS of this test"
    return found[0]


def upward_imports(part: str, tree: ast.AST) -> list[str]:
    """What a file of `mae_core.part` imports from its own layer or a higher one."""
    own_parts = {name.split(".")[1] for name in imported(tree) if name.startswith("mae_core.")}
    return sorted(other for other in own_parts - {part} if layer_of(other) >= layer_of(part))


def test_the_registry_knows_neither_core_nor_plugins_nor_torch() -> None:
    assert forbidden_imports("registry/mae_registry", ["mae_core", "torch", *plugin_packages()]) == []


def test_the_registry_needs_pluggy_alone() -> None:
    tops = {name.split(".")[0] for file in python_files("registry/mae_registry") for name in imported(parse(file))}
    assert {top for top in tops if top not in sys.stdlib_module_names} == {"mae_registry", "pluggy"}


def test_the_core_knows_no_plugin() -> None:
    assert forbidden_imports("mae_core", list(plugin_packages())) == []


def test_lightning_is_imported_in_one_place() -> None:
    """Which keeps it from importing the whole of torchmetrics, and with it transformers, in each process of a run."""
    files = [file for file in python_files("mae_core") if any(name.startswith("lightning") for name in imported(parse(file)))]
    assert [file.name for file in files] == ["fabric.py"]


def test_no_component_imports_torchmetrics(forks: Forks) -> None:
    program = """
import sys, mae_core.training.run
from mae_core.registry import registry
for component in registry(): component.load()
print(*(name in sys.modules for name in ("lightning_fabric", "torchmetrics")))
"""
    done = forks.python(program)
    assert done.stdout == "True False\n", done.stderr


def test_plugins_do_not_know_each_other() -> None:
    packages = plugin_packages()
    for package, folder in packages.items():
        allowed = {package, *BUILDS_ON.get(package, ())}
        assert forbidden_imports(folder, [other for other in packages if other not in allowed]) == []


def test_a_plugin_depends_on_those_that_it_builds_on() -> None:
    for package, others in BUILDS_ON.items():
        project = (ROOT / plugin_packages()[package]).parent / "pyproject.toml"
        dependencies = " ".join(tomllib.loads(project.read_text())["project"]["dependencies"])
        assert [other for other in others if other.replace("_", "-") not in dependencies] == []


def test_modules_of_the_core_import_from_below() -> None:
    upward = {}
    for file in python_files("mae_core"):
        part = file.relative_to(ROOT / "mae_core").parts[0].removesuffix(".py")
        if part != "__init__" and (found := upward_imports(part, parse(file))):
            upward[str(file.relative_to(ROOT))] = found
    assert upward == {}


def test_the_rooms_are_documented_in_the_order_of_the_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)/`", page, re.M)
    folders = {path.parent.name for path in (ROOT / "mae_core").glob("*/__init__.py")}
    assert set(rooms) == folders
    assert rooms == sorted(rooms, key=layer_of)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import mae_core.training.trainer", ["training"]),
        ("from mae_core.cli import app", ["cli"]),
        ("def f():\n    from mae_core import build", ["build"]),
        ("from mae_core.layouts.published import import_state_dict", ["layouts"]),
        ("from mae_core.interfaces import Mask\nimport torch\nfrom mae_core.masking import RandomMasker", []),
        ("if TYPE_CHECKING:\n    from mae_core.model.autoencoder import MaskedAutoencoder", []),
    ],
)
def test_an_import_from_above_is_found(source: str, found: list[str]) -> None:
    assert upward_imports("parts", ast.parse(source)) == found


def test_a_module_without_a_layer_is_found() -> None:
    with pytest.raises(AssertionError, match=r"mae_core\.nowhere has no layer"):
        upward_imports("parts", ast.parse("import mae_core.nowhere"))


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Identifiers and texts of a file with their lines, docstrings (of whatever they stand under) left out."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield line, node.value
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(value := getattr(node, field, None), str):
                yield line, value


def modality_names(tree: ast.Module) -> list[str]:
    """Words that name a modality, snake_case and camelCase taken apart."""
    return [
        f"line {line}: {text}"
        for line, text in words(tree)
        if any(MODALITY_WORD.fullmatch(word.lower()) for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", ALLOWED.sub("", text)))
    ]


@pytest.mark.parametrize("folder", ["mae_core", "registry/mae_registry"])
def test_nothing_outside_a_plugin_names_a_modality(folder: str) -> None:
    named = {str(file.relative_to(ROOT)): found for file in python_files(folder) if (found := modality_names(parse(file)))}
    assert named == {}


@pytest.mark.parametrize(
    "source",
    [
        "images = 1",
        "def f(num_images): ...",
        "x.imageSize",
        "class VideoMasker: ...",
        'shape = "a video of t frames"',
        'f"{x} audio"',
        "import mae_image",
        'open(mode="x", photo=1)',
    ],
)
def test_a_modality_named_in_code_is_found(source: str) -> None:
    assert modality_names(ast.parse(source)) != []


@pytest.mark.parametrize(
    "source",
    ["from PIL import Image", '"""Images."""', 'x = 1\n"""An image."""', "# video", "imagine = target.Pixels", "models = 1"],
)
def test_what_is_no_modality_in_code_is_not(source: str) -> None:
    assert modality_names(ast.parse(source)) == []


def loaded_modules(program: str) -> set[str]:
    """Top-level modules in sys.modules after `program`, run in a fresh interpreter."""
    report = f"import sys\ntry:\n    {program}\nexcept SystemExit as end:\n    assert not end.code\n"
    report += "print('modules:', *{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(result.stdout.rsplit("modules:", 1)[1].split())


def command(*arguments: str) -> str:
    return f"from mae_core.cli import main; main({list(arguments)!r})"


@pytest.mark.parametrize(
    "program",
    [
        "import mae_registry",
        "import mae_core",
        "import mae_core.config",
        "from mae_core.registry import registry; registry()",
        command("--help"),
        command("--version"),
        command("pretrain", "--help"),
        command("convert", "--help"),
        command("plugins"),
        command("plugins", "--json"),
    ],
)
def test_light_things_import_no_torch(program: str) -> None:
    loaded = loaded_modules(program)
    assert {"torch", "timm", "numpy"} & loaded == set()
    assert "mae_registry" in loaded or program == "import mae_core"


def test_torch_would_be_noticed() -> None:
    assert "torch" in loaded_modules("from mae_core import Grid")


def test_the_lazy_names_are_the_public_ones() -> None:
    import mae_core

    assert {name for name in mae_core.__all__ if getattr(mae_core, name, None) is None} == set()
    with pytest.raises(AttributeError, match=r"^module 'mae_core' has no attribute 'build_modle'$"):
        _ = mae_core.build_modle

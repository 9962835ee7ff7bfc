"""What README.md and docs/ tell people to type works. tests/documents.py says how examples are marked."""

import importlib.util
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import typer
from documents import LANGUAGES, PAGES, ROOT, Block, blocks, mae_commands, shows
from typer.core import TyperGroup

from mae_core import load_config
from mae_core.cli import app
from mae_core.config import list_recipes
from mae_core.config.headers import Header, read_header
from mae_core.config.recipes import recipe_path
from mae_core.registry import registry

TINY = [
    "model.encoder={name: vit, width: 32, depth: 1, heads: 2}",
    "model.modalities.image.decoder={name: vit, width: 32, depth: 1, heads: 2}",
    "model.modalities.image.tokenizer={input_size: [32, 32], patch_size: [4, 4]}",
    "train={epochs: 1, batch_size: 8, num_workers: 0, num_pictures: 1}",
    "schedule.warmup_epochs=0",
]
SMALLER = {
    r"demo/image": [*TINY, "data.image.repeats=1"],
    r"image/mae_vit_base|[\w-]+\.yaml": TINY,
}
"""What is appended to `mae pretrain RECIPE` so that it takes a second, by the recipes that are trained in examples."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# ---- examples that are run


@pages
def test_examples_run(page, tmp_path, photos, forks):
    for name in ("DIR", "photos"):
        (tmp_path / name).symlink_to(photos)
    shutil.copy(next(photos.glob("*.jpg")), tmp_path / "photo.jpg")
    steps = [step for block in blocks(page) if block.is_run_with_its_page for step in steps_of(block)]
    environment = {"COLUMNS": "120"}
    results = forks.steps([step for step, _, _ in steps], folder=tmp_path, environment=environment, together=True)
    for (step, where, shown), done in zip(steps, results, strict=True):
        output = done.stdout
        assert done.returncode == (1 if shown.startswith("error:") else 0), f"{where}: {step}\n{output}"
        assert shows(output, shown), f"{where}: {step}\nshown:\n{shown}\ngiven:\n{output}"


def steps_of(block: Block):
    """(a step of a session, where it stands, what must be in its output)"""
    if block.file:
        yield {"file": block.file, "text": block.text}, block.where, ""
    if block.language == "yaml":
        assert block.file, f"{block.where}: give the recipe a file name"
        if re.search(r"^(model|extends):", block.text, re.M):
            shown = "error:" if block.is_wrong_on_purpose else f"{Path(block.file).stem} is fine"
            yield {"mae": ["config", "check", block.file]}, block.where, shown
        else:  # maskers alone
            yield {"mae": ["masks", "show", block.file]}, block.where, "draws in batches of"
    elif block.language == "python":
        yield {"python": block.text}, block.where, ""
    elif block.language == "bash":
        yield {"shell": block.text}, block.where, ""
    elif block.language == "console":
        for command, shown in block.commands():
            words = shlex.split(command)
            if words[0] == "mae" and words[-2] == ">":
                yield {"mae": words[1:-2], "into": words[-1]}, block.where, shown
                continue
            if words[0] != "mae" or re.search(r"[|<>&;]", re.sub(r"'[^']*'", "", command)):
                yield {"shell": command}, block.where, shown
                continue
            if words[1] == "pretrain":
                yield {"mae": ["config", "show", *recipe_and_overrides(words)]}, block.where, ""
                words += smaller(words[2], block.where)
            yield {"mae": words[1:]}, block.where, shown


def recipe_and_overrides(words: list[str]) -> list[str]:
    """Of `mae pretrain RECIPE ...`, as it stands; and its plugins."""
    plugins = [word for at, word in enumerate(words) if "--plugin" in words[at - 1 : at + 1]]
    return [words[2], *(word for word in words[3:] if re.match(r"[a-z]\w*\.[\w.]+=", word)), *plugins]


def smaller(recipe: str, where: str) -> list[str]:
    for pattern, overrides in SMALLER.items():
        if re.fullmatch(pattern, recipe):
            return overrides
    pytest.fail(f"{where}: say in SMALLER how {recipe} is trained in a second, or mark the block <!-- needs: ... -->")


# ---- all examples, also those that are not run


@pages
def test_every_block_says_its_language_and_can_be_read(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.where}: ```{block.info}"
        if block.language == "python" and not block.source:
            compile(block.text, block.where, "exec")
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "console":
            assert list(block.commands()), f"{block.where}: no line begins with `$ `"


@pages
def test_every_command_and_option_exists(page):
    for block, words in mae_commands(page):
        command = typer.main.get_command(app)
        options = {"--help", *option_names(command)}
        rest = words[1:]
        while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"{block.where}: mae has no {rest[0]!r}"
            command, rest = command.commands[rest[0]], rest[1:]
            options |= option_names(command)
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert given <= options, f"{block.where}: {given - options}"


def option_names(command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("-")}


@pages
def test_pretraining_that_is_not_run_takes_its_overrides(page):
    for block, words in mae_commands(page):
        if block.needs and words[1] == "pretrain":
            recipe, *overrides = recipe_and_overrides(words)
            load_config(recipe, overrides)


@pages
def test_every_verb_in_running_text_exists(page):
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    assert set(re.findall(r"`mae ([a-z][\w-]*)", page.read_text())) <= set(group.commands)


@pages
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^\$ |`)make ([a-z][a-z0-9-]*)", page.read_text(), re.M):
        assert re.search(rf"^(?:[a-z0-9-]+ )*{target}(?: [a-z0-9-]+)*:", makefile, re.M), target


@pages
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists() or target == "command-line.md", target


@pytest.mark.parametrize("section", ["encoder", "positions", "decoder", "target", "task", "optimizer", "schedule"])
def test_the_table_of_sections_lists_the_components_of_the_core(section):
    kind = section if section == "positions" else f"{section}s"
    own = {component.name for component in registry() if component.kind == kind and component.plugin == "core"}
    page = (ROOT / "docs" / "configuration.md").read_text()
    (cell,) = re.findall(rf"^\| `(?:[\w.]+\.)?{section}` \|[^|]*\|(.*)\|$", page, re.M)
    assert set(re.findall(r"`(\w+)`", cell)) == own


# ---- what the site is made of


def from_docs(name):
    """A script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks():
    return from_docs("hooks")


@pytest.fixture(scope="module")
def tables():
    return from_docs("tables")


def test_the_page_of_commands_has_every_one_with_its_options(hooks):
    text = hooks.command_line()
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for verb, command in group.commands.items():
        assert f"## `mae {verb}`" in text
        assert all(option in text for option in option_names(command))


def test_the_table_has_every_recipe_with_what_its_header_says(tables):
    rows = tables.recipes()
    listed = [name for name in list_recipes() if not name.startswith(tables.EXPERIMENTS)]
    assert [row.split("`")[1] for row in rows[2:]] == listed
    (row,) = (row for row in rows if row.startswith("| `image/mae_vit_large` |"))
    for part in ("ViT-L/16 of He et al. 2022", "42 h on 64 V100", "85.9 %"):
        assert part in row


@pages
def test_tables_that_are_made_from_the_code_are_up_to_date(tables, page):
    text = page.read_text(encoding="utf-8")
    assert tables.with_tables(text) == text, "make doc-tables writes them again"


def test_the_pages_have_their_tables(tables):
    found = [match["name"] for page in PAGES for match in tables.PLACE.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(tables.TABLES)


@pytest.mark.parametrize("recipe", list_recipes())
def test_every_recipe_header_has_a_command_that_takes_it(recipe):
    header = read_header(recipe_path(recipe))
    assert all((header.about, header.cost, header.result))
    command = shlex.split(header.command)
    if command[0] == "make":
        assert f"{command[1]}:" in (ROOT / "Makefile").read_text()
        return
    assert command[0] == "mae"
    if command[1] == "pretrain":
        assert command[2] == recipe
        load_config(recipe, recipe_and_overrides(command)[1:])
        return
    assert command[1] in {"finetune", "probe"}  # CHECKPOINT DATA, with a recipe or with that of the checkpoint's size
    own = [
        name
        for component in registry()
        if component.kind == "modalities"
        for name in component.load().recipes.get(command[1], ())
    ]
    assert recipe in (command[5:] if command[4:5] == ["--recipe"] else own)


def test_what_a_header_does_not_say_is_empty(tmp_path):
    path = tmp_path / "bare.yaml"
    path.write_text(
        "# A recipe. It is short.\n#\n# command: mae pretrain bare.yaml\n# cost:    a cent\n#    or two\nmodel: {}\n"
    )
    assert read_header(path) == Header("A recipe.", "mae pretrain bare.yaml", "a cent or two", "")


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES[1:]:
        assert re.search(rf"^ *- {re.escape(page.name)}$", navigation, re.M), page.name

"""Recipes that nobody would write: whatever a recipe says, it is checked within seconds, and refused with words."""

import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from mae_core.config import load_config
from mae_core.config.recipes import list_recipes
from mae_core.config.yaml_tree import to_yaml
from mae_core.training.preflight import check_recipe
from mae_registry import ConfigError, MaeError

SECONDS = 10
"""Far more than any check takes, so that a slow machine fails no test."""
VALUES: list[Any] = [
    *(None, True, "", "x", "vit", "random", [], {}, [1], ["a"], {"a": 1}, {"name": 1}, {"name": ["vit"]}, {"name": {"a": 1}}),
    *(0, -1, 1, 3, 7, 1000, 10**6, 10**9, 2**31, 2**62, 2**63, 10**30, 0.0, 0.5, 1.0, -0.5, 1e-300, 1e30, 1e308),
    *(float("inf"), float("-inf"), float("nan"), [0, 0], [1, 1], [16, 16], [2**40, 2**40], [1600000, 1600000], [1, [2, [3]]]),
    *([1e30, 1e-30], "9" * 5000, {"any": ["random", "random"]}, {"repeat": {"name": "random", "ratio": 0.5}, "times": 10**9}),
]
SAMPLES = [
    name for name in list_recipes() if name.count("/") == 1 and not any(word in name for word in ("huge", "giant", "large"))
]


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


def _mutate(tree: Any, chance: random.Random) -> None:
    """One value replaced or removed, or a key that nobody knows."""
    *path, last = chance.choice(list(_places(tree)))
    for key in path:
        tree = tree[key]
    match chance.randrange(6):
        case 0:
            del tree[last]
        case 1 if isinstance(tree, dict):
            tree[chance.choice(["x", "name", "any", "extends", "type", "<<"])] = chance.choice(VALUES)
        case _:
            tree[last] = chance.choice(VALUES)


def _check(seed: int) -> None:
    chance = random.Random(seed)
    name = chance.choice(SAMPLES)
    tree = load_config(name).to_dict()
    for _ in range(chance.choice([1, 1, 2, 3])):
        _mutate(tree, chance)

    def too_slow(*_: object) -> None:
        pytest.fail(f"{name}, seed {seed}: takes longer than {SECONDS} s:\n{to_yaml(tree)}")

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(SECONDS)
    try:
        check_recipe(load_config(tree))
    except MaeError:
        pass
    except Exception as error:
        error.add_note(f"{name}, seed {seed}:\n{to_yaml(tree)}")
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_recipe_is_taken_or_refused_with_words(seed):
    _check(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_mutated_recipes():
    for seed in range(1000, 2200):
        _check(seed)


ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MASKERS = "maskers:\n  m0: {name: random, ratio: 0.5}\n"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (ALIASES, "values, those of aliases"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than"),
        ("a: " + "x" * 300_000, "longer than"),
        ("train: {epochs: " + "9" * 5000 + "}", "an integer of 5,000 digits"),
        ("train: {epochs: 0x" + "f" * 5000 + "}", "an integer of 20000 bits"),
        (MASKERS + "".join(f"  m{i}: {{any: [m{i - 1}, m{i - 1}]}}\n" for i in range(1, 40)), "made of more than 500 maskers"),
        (
            MASKERS + "".join(f"  m{i}: {{any: [{{name: m{i - 1}, seed: 1}}, {{name: m{i - 1}}}]}}\n" for i in range(1, 40)),
            "made of more than 500 maskers",
        ),
        (
            MASKERS + "".join(f"  m{i}: {{invert: m{i - 1}}}\n" for i in reversed(range(1, 200))),
            "refer to each other more than",
        ),
    ],
)
def test_a_few_lines_do_not_take_all_memory(text, finding, tmp_path):
    path = tmp_path / "absurd.yaml"
    path.write_text("extends: demo/image\n" + text)
    with pytest.raises(ConfigError, match=finding):
        load_config(path)


def test_recipes_that_extend_each_other_in_many_ways_are_refused(tmp_path):
    for index in range(30):
        (tmp_path / f"r{index}.yaml").write_text(f"extends: [r{index + 1}.yaml, r{index + 1}.yaml]\n")
    (tmp_path / "r30.yaml").write_text("extends: demo/image\n")
    with pytest.raises(ConfigError, match="leads to more than 50 recipes"):
        load_config(tmp_path / "r0.yaml")


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("model.encoder.depth=100000", "model.encoder.depth: 100000 is not allowed"),
        ("model.encoder.mlp_ratio=1e30", "model.encoder .* cannot be built with these values"),
        ("model.modalities.image.tokenizer.input_size=[1600000,1600000]", "patches is too large"),
        ("optimizer.lr=.inf", "optimizer.lr: Infinity is not allowed"),
        ("train.weights={image: .inf}", "train.weights: .* must be finite"),
        ("train.num_workers=1000000", "train.num_workers: 1000000 is not allowed"),
        ("train.batch_size=1000000000000000000", "train.batch_size: 1000000000000000000 is not allowed"),
    ],
)
def test_absurd_sizes_are_refused_by_their_keys(override, finding):
    with pytest.raises(ConfigError, match=finding):
        check_recipe(load_config("demo/image", [override]))

"""`mae finetune` and `mae probe`."""

import functools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mae_core.cli.training import (
    Device,
    DryRun,
    Out,
    Overrides,
    Overwrite,
    Resume,
    is_restarted,
    on_all_devices,
    on_device,
    refuse_both,
    rehearse_training,
    run_training,
    shell,
)
from mae_registry import MaeError

if TYPE_CHECKING:
    from mae_core.config import Config
    from mae_core.interfaces import Modality
    from mae_core.training.world import World

Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT", help="The folder of a run, a checkpoint, an encoder.safetensors, or published weights."
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder with train/ and val/ that each have one folder for each class, a folder with one folder for each class, "
        "a CSV file with the columns path,label, or the files of a data set that the modality knows.",
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option("--recipe", help="The recipe of the evaluation.", show_default="the modality's, for this size of encoder"),
]
Entry = Annotated[
    str | None, typer.Option("--modality", help="The modality of the data, if the model has several.", show_default=False)
]
Teacher = Annotated[
    bool,
    typer.Option(
        "--teacher",
        help="Take the moving average that the run's targets learn from (I-JEPA, data2vec); a run's checkpoints have it.",
    ),
]
Seeds = Annotated[
    int, typer.Option(min=1, help="How many seeds to train with, one after the other, each from the same checkpoint.")
]
OF_TEACHER = "init.teacher=true"


@dataclass(frozen=True)
class _Asked:
    """What was asked for at the command line."""

    verb: str
    checkpoint: Path
    data: str
    overrides: Sequence[str]
    recipe: str | None
    entry: str | None
    num_seeds: int
    out: Path | None
    resume: bool
    overwrite: bool
    dry_run: bool

    @functools.cached_property
    def pretrained(self) -> "Config":
        """The recipe of the checkpoint's model."""
        from mae_core.runs.backbone import load_backbone_and_config

        return load_backbone_and_config(self.checkpoint)[1]

    @property
    def chosen_entry(self) -> str:
        """The entry of the model's modality that the data are of."""
        from mae_core.evaluation.adapt import only_entry

        return only_entry(self.pretrained, self.entry)

    @property
    def modality(self) -> "Modality":
        """The modality of the data."""
        from mae_core.build import modality, modality_of

        return modality(modality_of(self.pretrained, self.chosen_entry))

    @functools.cached_property
    def chosen_recipe(self) -> str:
        """The recipe that the user named, or the one that is right for this checkpoint."""
        from mae_core.evaluation.adapt import choose_recipe

        return self.recipe or choose_recipe(self.modality, self.verb, self.pretrained)

    def command(self, verb: str | None = None) -> list[str]:
        """As it was typed, without the folder; `verb` in place of its own asks for something else of the same data."""
        words = [verb or self.verb, str(self.checkpoint), self.data]
        options = {"--modality": self.entry, **({} if verb else {"--recipe": self.recipe})}
        if verb is None:
            words += self.overrides
            options["--seeds"] = str(self.num_seeds) if self.num_seeds > 1 else None
        elif OF_TEACHER in self.overrides:
            words.append("--teacher")
        return [*words, *(word for name, value in options.items() if value for word in (name, value))]


def finetune(
    checkpoint: Checkpoint,
    data: Data,
    overrides: Overrides = None,
    recipe: RecipeName = None,
    modality: Entry = None,
    seeds: Seeds = 1,
    teacher: Teacher = False,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Fine-tune a pre-trained encoder on labelled data, and measure it on those that are held out."""
    overrides = [*_of_teacher(teacher), *(overrides or []), *on_device(device)]
    _evaluate(_Asked("finetune", checkpoint, data, overrides, recipe, modality, seeds, out, resume, overwrite, dry_run))


def probe(
    checkpoint: Checkpoint,
    data: Data,
    overrides: Overrides = None,
    recipe: RecipeName = None,
    modality: Entry = None,
    seeds: Seeds = 1,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    dry_run: DryRun = False,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Compute the features once, train a grid of heads on them, and pick one on a part of the training data.",
        ),
    ] = False,
    layer: Annotated[
        list[int] | None,
        typer.Option(min=0, help="With --fast, try the output of this layer of the encoder too. Repeat the option for more."),
    ] = None,
    views: Annotated[
        int, typer.Option(min=1, help="With --fast, encode training samples so often: once as they are, then augmented.")
    ] = 1,
    teacher: Teacher = False,
) -> None:
    """Train a linear layer over a frozen encoder, and measure it on held-out data."""
    if fast:
        from mae_core.cli.features import fast_probe

        if overrides or recipe or resume or dry_run:
            raise typer.BadParameter("--fast has no recipe: leave out KEY=VALUE, --recipe, --resume and --dry-run")
        fast_probe(
            checkpoint,
            data,
            entry=modality,
            teacher=teacher,
            layers=layer or (),
            num_views=views,
            num_seeds=seeds,
            out=out,
            overwrite=overwrite,
            device=device,
        )
        return
    if layer or views > 1:
        raise typer.BadParameter("--layer and --views need --fast")
    overrides = [*_of_teacher(teacher), *(overrides or []), *on_device(device)]
    _evaluate(_Asked("probe", checkpoint, data, overrides, recipe, modality, seeds, out, resume, overwrite, dry_run))


def _of_teacher(teacher: bool) -> list[str]:
    """Overrides for runs, whose recipe says what they begin with."""
    return [OF_TEACHER] if teacher else []


def _evaluate(asked: _Asked) -> None:
    refuse_both(resume=asked.resume, overwrite=asked.overwrite, dry_run=asked.dry_run)
    if asked.dry_run:
        with tempfile.TemporaryDirectory() as folder:  # for the split of the data
            rehearse_training(_fresh(asked, Path(folder)), asked.out, overwrite=asked.overwrite)
        return
    with on_all_devices(_begun(asked)) as world:
        asked = replace(asked, resume=asked.resume or is_restarted(asked.out))
        folder = _evaluate_seeds(asked, world) if asked.num_seeds > 1 else _train(asked, world)
        if world.is_writer:
            _say_what_was_found(asked, folder)


def _begun(asked: _Asked) -> "Config":
    """A recipe that says on which devices to train: that of a run to resume, for which no checkpoint is read, or a new one."""
    from mae_core.config import load_config
    from mae_core.runs.folder import CONFIG

    if asked.resume and asked.num_seeds == 1:
        return load_config(_folder(asked) / CONFIG, asked.overrides)
    return load_config(asked.chosen_recipe, asked.overrides)


def _train(asked: _Asked, world: "World", *, command: Sequence[str] = (), out: Path | None = None) -> Path:
    """One training, in the folder that is returned. What is looked for and split is so by the process that writes."""
    folder = world.first(lambda: _folder(asked))
    config = world.first(lambda: _resumed(asked, folder) if asked.resume else _fresh(asked, folder))
    command = command or asked.command()
    run_training(config, folder, command, world=world, resume=asked.resume, overwrite=asked.overwrite, out=out)
    return folder


def _evaluate_seeds(asked: _Asked, world: "World") -> Path:
    """One run a seed, in folders of their own; what is finished is not run again on --resume. Returns the folder of all."""
    from mae_core.evaluation.seeds import join_seeds, seed_folder, seen_from_above
    from mae_core.runs.folder import CONFIG
    from mae_core.runs.report import write_report
    from mae_core.runs.results import read_results, save_results

    folder = asked.out or Path("runs") / f"{_name(asked).replace('/', '-')}-seeds"
    if (folder / CONFIG).exists():
        raise MaeError(f"{folder} is the folder of a single run; choose another --out for several seeds")
    found = []
    for number in range(asked.num_seeds):
        own = seed_folder(folder, number)
        results = world.first(lambda own=own: read_results(own) if asked.resume else None)
        if results is None:
            began = asked.resume and world.first(lambda own=own: (own / CONFIG).is_file())
            one = replace(asked, out=own, resume=began, overrides=[*asked.overrides, f"train.seed={number}"])
            written = _train(one, world, command=asked.command(), out=folder)
            results = world.first(lambda written=written: read_results(written))  # the others may be here before it is written
        assert results is not None
        found.append(seen_from_above(results))
    if world.is_writer:
        save_results(folder, join_seeds(found))
        write_report(folder)
    return folder


def _folder(asked: _Asked) -> Path:
    from mae_core.runs.folder import choose_folder

    name = "" if asked.out else _name(asked)
    return choose_folder(name, asked.out, resume=asked.resume, overwrite=asked.overwrite)


def _name(asked: _Asked) -> str:
    """What the recipe is called in the name of a folder."""
    recipe = asked.chosen_recipe
    return Path(recipe).stem if Path(recipe).is_file() else recipe


def _fresh(asked: _Asked, folder: Path) -> "Config":
    """The recipe for this checkpoint and these data. A split that is made is recorded in `folder`."""
    from mae_core.evaluation.adapt import adapt
    from mae_core.evaluation.data import find_data
    from mae_core.runs.folder import give_back

    try:
        recipe, checkpoint = asked.chosen_recipe, asked.pretrained
        found = find_data(asked.data, modality=asked.modality, folder=folder)
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"data: {found.description}")
        weights, entry = asked.checkpoint, asked.chosen_entry
        return adapt(recipe, asked.overrides, checkpoint=checkpoint, weights=weights, entry=entry, data=found)
    except BaseException:
        give_back(folder)
        raise


def _resumed(asked: _Asked, folder: Path) -> "Config":
    """The recipe that the run was started with: neither the checkpoint nor a split is looked for again."""
    from mae_core.config import load_config
    from mae_core.evaluation.data import with_split_of
    from mae_core.runs.folder import CONFIG, read_facts

    stored, facts = load_config(folder / CONFIG), read_facts(folder)
    began = stored.get("init.checkpoint")
    if began != os.path.abspath(asked.checkpoint):
        raise MaeError(f"the run in {folder} began with {began}, and not with {asked.checkpoint}; name that one to resume it")
    return load_config(with_split_of(stored.to_dict(), folder), asked.overrides).renamed(
        facts.get("recipe", stored.name), based_on=facts.get("based_on")
    )


def _say_what_was_found(asked: _Asked, folder: Path) -> None:
    """A short table, and some commands to try."""
    from mae_core.runs.results import RESULTS, read_results
    from mae_core.runs.results_page import metric_name, show_metric

    results = read_results(folder)
    assert results is not None
    lines = [f"{metric_name(name):<24}{show_metric(results, name)}" for name in results.metrics]
    if results.deviations:
        count = len(results.deviations)
        lines.append(f"{'published recipe':<24}{count} key{'s' if count > 1 else ''} differ, listed in the report")
    lines += [f"{'results':<24}{folder / RESULTS}", f"{'report':<24}{folder / 'report.html'}", "", "what to try next:"]
    others = [verb for verb in ("finetune", "probe", "knn") if verb != asked.verb]
    lines += [f"  {shell(asked.command(verb))}" for verb in others]
    lines.append(f"  {shell(['report', str(folder), *_run_of(asked.checkpoint)])}")
    typer.echo("\n".join(lines))


def _run_of(checkpoint: Path) -> list[str]:
    """The folder of the run that a checkpoint comes from, if it is one."""
    places = (checkpoint, checkpoint.parent, checkpoint.parent.parent)
    return [str(place) for place in places if (place / "config.yaml").is_file()][:1]

"""`mae knn` and `mae probe --fast`: what the features of a frozen encoder are worth."""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from mae_core.cli.evaluation import Checkpoint, Data, Entry, Teacher
from mae_core.cli.training import Device
from mae_registry import MaeError

if TYPE_CHECKING:
    from mae_core.evaluation.fast_probe import Probed, Tried
    from mae_core.evaluation.features import Features, Readout
    from mae_core.evaluation.frozen import Frozen
    from mae_core.evaluation.knn import Votes
    from mae_core.runs.results import Results

Layer = Annotated[
    int | None,
    typer.Option(min=0, help="Take the output of this layer of the encoder; 0 is its input.", show_default="the last, normed"),
]
Out = Annotated[Path | None, typer.Option(help="The folder to write the results to.", show_default="runs/VERB, with a number")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results in the folder --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, for other programs.")]


def knn(
    checkpoint: Checkpoint,
    data: Data,
    k: Annotated[
        list[int] | None,
        typer.Option(min=1, help="A number of neighbours. Repeat the option for more.", show_default="10, 20, 100, 200"),
    ] = None,
    pool: Annotated[Literal["mean", "cls"], typer.Option(help="The mean of all tokens, or the class token.")] = "mean",
    layer: Layer = None,
    modality: Entry = None,
    teacher: Teacher = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Classify held-out samples by their nearest neighbours among the features of the others: no training at all."""
    from mae_core.evaluation.features import Readout, require_targets
    from mae_core.evaluation.knn import KS, classify, require_one_label

    readout = Readout(pool, layer)
    with _folder("knn", out, overwrite=overwrite) as folder:
        started = time.monotonic()
        frozen = _open(checkpoint, data, entry=modality, folder=folder, teacher=teacher, device=device)
        require_one_label(frozen.train, frozen.held_out)
        train, held_out = _encode_both(frozen, [readout])
        votes = classify(
            train.vectors[readout],
            require_targets(train),
            held_out.vectors[readout],
            require_targets(held_out),
            num_classes=len(frozen.classes),
            ks=k or KS,
        )
        results = _write_knn(folder, frozen, held_out, votes, readout=readout, checkpoint=checkpoint, started=started)
    _report_knn(results, votes, folder, as_json=as_json)


def fast_probe(
    checkpoint: Path,
    data: str,
    *,
    entry: str | None = None,
    teacher: bool = False,
    layers: Sequence[int] = (),
    num_views: int = 1,
    num_seeds: int = 1,
    out: Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """`mae probe --fast`: features are computed once, and a grid of linear heads is trained on them.

    Args:
        entry: the modality of the data, if the model has several.
        teacher: take the moving average that the run's targets learn from.
        layers: outputs of these layers of the encoder are tried, beside that of the whole encoder.
        num_views: how often training samples are encoded: once as they are, and augmented for all further times.
        num_seeds: seeds of the validation split and of the order of samples, from 0 on.
        device: auto, cpu or cuda.
    """
    from mae_core.evaluation.fast_probe import fast_probe as probe

    with _folder("fast_probe", out, overwrite=overwrite) as folder:
        started = time.monotonic()
        frozen = _open(checkpoint, data, entry=entry, folder=folder, teacher=teacher, device=device)
        readouts = _readouts(frozen, layers)
        train, held_out = _encode_both(frozen, readouts)
        views = [train]
        for view in range(1, num_views):
            with progress_bar(f"encoding view {view + 1}") as progress:
                views.append(frozen.encode_train(readouts, view=view, say=say, progress=progress))
        with progress_bar("training heads") as progress:
            probed = probe(
                views,
                held_out,
                classes=frozen.classes,
                seeds=range(num_seeds),
                device=frozen.device,
                progress=progress,
            )
        tried = f"{', '.join(map(str, readouts))}; {num_views} view{'s' if num_views > 1 else ''}"
        results = _write_probed(folder, frozen, held_out, probed, tried=tried, checkpoint=checkpoint, started=started)
    _report_probed(results, probed, folder)


def _open(checkpoint: Path, data: str, *, entry: str | None, folder: Path, teacher: bool, device: str) -> "Frozen":
    from mae_core.evaluation.frozen import open_frozen

    return open_frozen(checkpoint, data, entry=entry, folder=folder, say=say, teacher=teacher, device=device)


def _readouts(frozen: "Frozen", layers: Sequence[int]) -> "list[Readout]":
    """Every pool of every layer that is asked for, and of the whole encoder."""
    from mae_core.evaluation.features import Readout

    pools: list[Literal["mean", "cls"]] = ["mean", "cls"] if frozen.backbone.encoder.num_prefix_tokens else ["mean"]
    return [Readout(pool, layer) for layer in (None, *layers) for pool in pools]


def _encode_both(frozen: "Frozen", readouts: "Sequence[Readout]") -> "tuple[Features, Features]":
    with progress_bar("encoding training samples") as progress:
        train = frozen.encode_train(readouts, say=say, progress=progress)
    with progress_bar("encoding held-out samples") as progress:
        return train, frozen.encode_held_out(readouts, say=say, progress=progress)


def _write_knn(
    folder: Path,
    frozen: "Frozen",
    held_out: "Features",
    votes: "Votes",
    *,
    readout: "Readout",
    checkpoint: Path,
    started: float,
) -> "Results":
    from mae_core.runs.results import write_results
    from mae_core.runs.scoring import Predictions

    scores = votes.scores[votes.k]
    return write_results(
        folder,
        Predictions(held_out.names, votes.targets, scores / scores.sum(dim=1, keepdim=True)),
        config=None,
        protocol=f"k-NN, k={votes.k}",
        classes=frozen.classes,
        data={**frozen.facts(), "features": str(readout)},
        checkpoint=str(checkpoint.absolute()),
        seed=0,
        seconds=time.monotonic() - started,
        draw=frozen.picture_writer(held_out),
        metrics={
            **({"top5": votes.accuracy(votes.k, top=5)} if len(frozen.classes) > 5 else {}),
            **{f"accuracy, k={k}": votes.accuracy(k) for k in votes.scores},
        },
    )


def _report_knn(results: "Results", votes: "Votes", folder: Path, *, as_json: bool) -> None:
    rows = {k: {"accuracy": votes.accuracy(k), "top5": votes.accuracy(k, top=5)} for k in votes.scores}
    if as_json:
        _print_json({"k": rows, "results": str(folder / "results.json")})
        return
    few = len(results.classes) <= 5
    table = [[str(k), f"{row['accuracy']:.2%}", *([] if few else [f"{row['top5']:.2%}"])] for k, row in rows.items()]
    _print_table(["k", "accuracy", *([] if few else ["top 5"])], table)
    _say_where(folder)


def _write_probed(
    folder: Path, frozen: "Frozen", held_out: "Features", probed: "Probed", *, tried: str, checkpoint: Path, started: float
) -> "Results":
    from mae_core.evaluation.seeds import join_seeds
    from mae_core.runs.results import save_results, write_results

    num_seeds = len(probed.predictions)
    seconds = (time.monotonic() - started) / num_seeds
    found = [
        write_results(
            folder,
            probed.predictions[seed],
            config=None,
            protocol="linear probe, fast",
            classes=frozen.classes,
            data={**frozen.facts(), "features": tried, "head": _describe(probed.table[0]), "heads tried": len(probed.table)},
            checkpoint=str(checkpoint.absolute()),
            seed=seed,
            seconds=seconds,
            draw=frozen.picture_writer(held_out),
        )
        for seed in reversed(range(num_seeds))
    ]  # each replaces the pictures of the one before, and those that are shown are the first seed's
    joined = join_seeds(found[::-1])
    save_results(folder, joined)
    return joined


def _report_probed(results: "Results", probed: "Probed", folder: Path) -> None:
    typer.echo("On the validation split, which is a tenth of the training samples:")
    rows = [[*map(str, _fields(tried).values()), f"{tried.mean:.2%}"] for tried in probed.table]
    _print_table(["pool", "layer", "learning rate", "weight decay", probed.metric], rows)
    typer.echo(
        f"\nThe first of these, trained again on all training samples ({_describe(probed.table[0])}), on the held-out data:"
    )
    for name in results.metrics:
        spread = results.deviation(name)
        several = "" if spread is None else f" (standard deviation {spread:.2%} over {len(results.seeds)} seeds)"
        typer.echo(f"  {name:<10}{results.mean(name):.2%}{several}")
    _say_where(folder)


def _fields(tried: "Tried") -> dict[str, object]:
    readout, rate, decay = tried.candidate
    return {"pool": readout.pool, "layer": "last" if readout.layer is None else readout.layer, "rate": rate, "decay": decay}


def _describe(tried: "Tried") -> str:
    readout, rate, decay = tried.candidate
    return f"{readout}, learning rate {rate:g}, weight decay {decay:g}"


@contextmanager
def _folder(name: str, out: Path | None, *, overwrite: bool) -> Generator[Path]:
    """Where an evaluation writes; in the end, its page is written too."""
    from mae_core.runs.folder import choose_folder, give_back
    from mae_core.runs.report import write_report
    from mae_core.runs.results import RESULTS

    if out is None:
        folder = choose_folder(name, None, resume=False, overwrite=False)
    else:
        folder = out
        _require_free(folder, overwrite=overwrite)
    try:
        yield folder
    except BaseException:
        if not (folder / RESULTS).exists():  # else its split belongs to results that were found before
            give_back(folder)
        raise
    write_report(folder)


def _require_free(folder: Path, *, overwrite: bool) -> None:
    """Raise MaeError unless the folder is empty, or holds nothing but what an evaluation of this kind writes."""
    from mae_core.runs.folder import SPLIT
    from mae_core.runs.results import RESULTS, WRONG

    own = {RESULTS, WRONG, "report.html", SPLIT}
    if folder.exists() and not folder.is_dir():
        raise MaeError(f"{folder.absolute()} is a file; choose a folder with --out")
    if folder.exists() and any(path.name not in own for path in folder.iterdir()):
        raise MaeError(f"{folder.absolute()} holds something else than results of this kind; choose another folder with --out")
    if (folder / RESULTS).exists() and not overwrite:
        raise MaeError(f"{folder.absolute()} already holds results; replace them with --overwrite, or choose another --out")


@contextmanager
def progress_bar(text: str) -> Generator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive) as bar:
        task = bar.add_task(text, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for name in names:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*row)
    Console(highlight=False, markup=False).print(shown)


def _print_json(content: Mapping[str, object]) -> None:
    typer.echo(json.dumps(content, indent=2))


def _say_where(folder: Path) -> None:
    typer.echo(f"\nresults  {folder / 'results.json'}\nreport   {folder / 'report.html'}")


def say(text: str) -> None:
    """A line on standard error."""
    typer.echo(text, err=True)

"""`mae shards` packs files into large archives, which are read faster from disks and over networks."""

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mae_core.cli.features import progress_bar, say
from mae_registry import ConfigError, MaeError, some_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mae_core.data.make_shards import Encode
    from mae_core.data.shard_index import Manifest
    from mae_core.data.stores import Store
    from mae_core.interfaces import Labels, Modality

app = typer.Typer(help="Pack files into large archives, index archives of others, and check them.", no_args_is_help=True)

MODALITY = Annotated[str | None, typer.Option("--modality", help="The modality of the files.", show_default="by their names")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete the shards that are there.")]
KEY = "SHARDS"
"""What messages call the section of a recipe that there is none of."""
NUM_SHOWN = 10
MEBIBYTE = 2**20


@app.command()
def make(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder of files, a Parquet file or a folder of them, other shards, or a recipe (.yaml) that reads files.",
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="The folder to write, or an address such as s3://bucket/folder.")
    ],
    modality: MODALITY = None,
    labels: Annotated[
        str | None,
        typer.Option(help="folders, a CSV file with path,label, or a column of Parquet files.", show_default="none"),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split of the CSV file or of the Parquet files.", show_default=False)
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(help="Store the array in NAME.EXTRA.npy with each file. Repeat the option for more.", show_default=False),
    ] = None,
    shorter_side: Annotated[
        int | None,
        typer.Option(min=8, help="Store files at most this large along the shorter side.", show_default="as they are"),
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="The quality of files that are encoded again.")] = 90,
    shard_size: Annotated[int, typer.Option(min=1, help="About how large a shard is, in MiB.")] = 256,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read files; 0 takes the main one.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write the files of a folder as shards: tar archives with an index."""
    from mae_core.data.make_shards import make_shards
    from mae_core.data.shard_writer import open_output

    if data.endswith((".yaml", ".yml")):
        if labels or split or extra:
            raise typer.BadParameter("a recipe says which labels, split and extras its data have: leave these options out")
        kind, opened = _of_recipe(data, modality)
    else:
        kind, opened = _of_files(data, modality, labels, split)
    encode = None if shorter_side is None else _encoder(kind, shorter_side, quality)
    notes: dict[str, Any] = {"modality": kind.name}
    if shorter_side is not None:
        notes |= {"shorter_side": shorter_side, "quality": quality}
    with progress_bar("writing") as progress:
        made = make_shards(
            opened.store,
            open_output(output),
            labels=opened.labels,
            extras=extra or opened.extras,
            encode=encode,
            shard_bytes=shard_size * MEBIBYTE,
            num_workers=workers,
            overwrite=overwrite,
            notes=notes,
            progress=progress,
        )
    for _, reason in made.skipped[:NUM_SHOWN]:
        say(f"skipped: {reason}")
    if made.skipped:
        say(f"{len(made.skipped):,} of {len(opened.store):,} files could not be read; skipped.csv lists them")
    _report(output, made.manifest)


@app.command()
def index(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of .tar files, as webdataset reads them.")],
    modality: Annotated[str, typer.Option("--modality", help="The modality of the files that are the samples.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the index that is there.")] = False,
) -> None:
    """Index tar archives that others made, which stay as they are."""
    from mae_core.build import modality as find_modality
    from mae_core.data.index_shards import index_shards
    from mae_core.data.shard_store import is_address

    if is_address(folder):
        raise MaeError(
            f"{folder}: archives are indexed on this machine; index them there, and copy them to the address after that"
        )
    with progress_bar("reading") as progress:
        place = os.path.abspath(os.path.expanduser(folder))
        manifest = index_shards(place, suffixes=find_modality(modality).file_suffixes, overwrite=overwrite, progress=progress)
    _report(folder, manifest)


@app.command()
def check(
    folder: Annotated[str, typer.Argument(metavar="SHARDS", help="A folder of shards, or its address.")],
) -> None:
    """Read all shards, and say which files are damaged."""
    from mae_core.data.index_shards import check_shards
    from mae_core.data.shard_store import ShardStore, is_address

    place = folder if is_address(folder) else os.path.abspath(os.path.expanduser(folder))
    store = ShardStore(place, key=KEY)
    with progress_bar("reading") as progress:
        problems = check_shards(store, progress=progress)
    for problem in problems[:NUM_SHOWN]:
        say(problem)
    if problems:
        raise MaeError(f"{len(problems):,} of {len(store):,} files are damaged; make these shards again, or copy them again")
    typer.echo(f"{folder}: all {len(store):,} files are as they were written")


@dataclass(frozen=True)
class _Opened:
    """Files that become shards."""

    store: "Store"
    labels: "Labels | None"
    extras: "Sequence[str]"


def _of_files(data: str, asked: str | None, labels: str | None, split: str | None) -> "tuple[Modality, _Opened]":
    """The files of a folder, and their modality."""
    from mae_core.data.folders import open_files

    kind = _modality(data, asked)
    try:
        opened = open_files(data, labels, split, suffixes=kind.file_suffixes, what="files of this kind", key=KEY)
    except ConfigError as error:  # which names keys of a recipe; here they are options
        text = str(error).replace(f"{KEY}.root", "DATA").replace(f"{KEY}.split=", "--split ").replace(f"{KEY}.", "--")
        raise MaeError(text) from error
    return kind, _Opened(opened.store, opened.labels, opened.store.extras or ())


def _of_recipe(recipe: str, asked: str | None) -> "tuple[Modality, _Opened]":
    """The files of one modality of a recipe."""
    from mae_core.build import modality, modality_of
    from mae_core.config import load_config
    from mae_core.data.folders import FileFolder
    from mae_core.evaluation.adapt import only_entry
    from mae_core.training.sources import build_datasets

    config = load_config(recipe)
    entry = only_entry(config, asked)
    dataset = build_datasets(config)[entry]
    if not isinstance(dataset, FileFolder):
        name = config["data"][entry]["name"]
        raise MaeError(f"{recipe}: data.{entry} is {name}, which does not read files; only files are stored in shards")
    return modality(modality_of(config, entry)), _Opened(dataset.store, dataset.labels, dataset.extras)


def _modality(data: str, asked: str | None) -> "Modality":
    """The modality that was asked for, or the only one that reads the files of a folder."""
    from mae_core.build import modality as find_modality
    from mae_core.registry import registry

    if asked is not None:
        return find_modality(asked)
    names = registry().names("modalities")
    found = [(_num_files(data, modality), modality) for modality in map(find_modality, names)]
    most = max((number for number, _ in found), default=0)
    best = [modality for number, modality in found if number == most > 0]
    usual = [modality for modality in best if modality.labelled_folder is not None]
    if len(usual) != 1:
        known = "several modalities read" if best else "no modality is known to read"
        raise MaeError(f"{known} the files of {data}; choose one with --modality: {', '.join(sorted(names))}")
    return usual[0]


def _num_files(data: str, modality: "Modality") -> int:
    """How many of the first files of a folder a modality reads."""
    suffixes = tuple(modality.file_suffixes)
    number = 0
    for _, folders, files in os.walk(os.path.expanduser(data)):
        folders.sort()
        number += sum(name.lower().endswith(suffixes) for name in files)
        if number >= 1000:
            break
    return number


def _encoder(modality: "Modality", shorter_side: int, quality: int) -> "Encode":
    from mae_core.build import modality as find_modality
    from mae_core.registry import registry
    from mae_registry import resolve

    if modality.shrink is None:
        able = [name for name in registry().names("modalities") if find_modality(name).shrink is not None]
        raise MaeError(f"--shorter-side is for {some_of(able) or 'no modality'}; {modality.name} files are stored as they are")
    return functools.partial(resolve(modality.shrink), shorter_side=shorter_side, quality=quality)


def _report(place: str, manifest: "Manifest") -> None:
    num_samples = sum(shard.num_samples for shard in manifest.shards)
    size = _size(sum(shard.num_bytes for shard in manifest.shards))
    samples, shards = _counted(num_samples, "sample"), _counted(len(manifest.shards), "shard")
    labels = f", {len(manifest.classes):,} classes" if manifest.classes is not None else ""
    typer.echo(f"{place}: {samples} in {shards} of {size}{labels}")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number > 1 else ''}"


def _size(num_bytes: int) -> str:
    """With the unit in which it has at most four digits."""
    power = min(max(num_bytes.bit_length() - 1, 0) // 10, 4)
    return f"{num_bytes / 1024**power:,.1f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"

"""`mae embed`."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mae_core.cli.evaluation import Checkpoint, Teacher
from mae_core.cli.features import Layer, progress_bar, say
from mae_core.cli.training import Device
from mae_registry import MaeError

if TYPE_CHECKING:
    from mae_core.config import Config
    from mae_core.evaluation.features import Features, Readout


def embed(
    checkpoint: Checkpoint,
    inputs: Annotated[list[Path], typer.Argument(metavar="FILES", help="Files, or folders of files.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write: .safetensors, .npy or .parquet.", show_default=False)
    ],
    pool: Annotated[
        Literal["mean", "cls", "tokens"],
        typer.Option(help="The mean of all tokens, the class token, or all tokens of patches as they are."),
    ] = "mean",
    layer: Layer = None,
    modality: Annotated[
        str | None,
        typer.Option(help="The modality of the files, if the model has several.", show_default="the one that reads them"),
    ] = None,
    teacher: Teacher = False,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write what the encoder makes of files: one vector each, with their names."""
    from mae_core.evaluation.feature_files import SUFFIXES, files_written, require_writer, write_features
    from mae_core.evaluation.features import Readout
    from mae_core.files import require_output

    for path in files_written(output):
        suffixes = SUFFIXES if path == output else (path.suffix,)
        require_output(path, suffixes=suffixes, inputs=[checkpoint, *inputs], overwrite=overwrite)
    require_writer(output, has_tokens=pool == "tokens")
    readout = Readout(pool, layer)
    features = _embed(
        checkpoint, inputs, readout, entry=modality, outputs=files_written(output), teacher=teacher, device=device
    )
    facts = {"checkpoint": str(checkpoint), "readout": str(readout)}
    vectors = features.vectors[readout]
    write_features(output, features.names, vectors, facts=facts)
    shape = " x ".join(map(str, vectors.shape))
    typer.echo(f"{output}: {shape} float32")
    for path in files_written(output)[1:]:
        typer.echo(f"{path}: the names of the {len(vectors)} files, one a line")


def _embed(
    checkpoint: Path,
    inputs: Sequence[Path],
    readout: "Readout",
    *,
    entry: str | None,
    outputs: Sequence[Path],
    teacher: bool,
    device: str,
) -> "Features":
    from mae_core.build import modality as find_modality
    from mae_core.evaluation.feature_files import Files
    from mae_core.evaluation.features import encode_dataset
    from mae_core.runs.backbone import load_backbone_and_config
    from mae_core.runs.published import Origin
    from mae_core.training.devices import choose_device

    backbone, config = load_backbone_and_config(checkpoint, Origin(say=say), teacher=teacher)
    backbone = backbone.to(choose_device(device))
    chosen = _entry_of(config, inputs, entry)
    modality = find_modality(backbone.types[chosen])
    paths = _list_files(inputs, modality.file_suffixes)
    for output in outputs:  # inside a folder that is read
        if output.exists() and any(Path(path).samefile(output) for path in paths if Path(path).exists()):
            raise MaeError(f"cannot write {output}: it is one of the files that are read; choose another name")
    files = Files(paths, read=modality.read, tokenizer=copy.deepcopy(backbone.input(chosen).tokenizer))
    with progress_bar("encoding") as progress:
        features = encode_dataset(backbone, files, entry=chosen, readouts=[readout], progress=progress)
    for skipped in features.skipped:
        say(f"skipped: {skipped.reason}")
    return features


def _entry_of(config: "Config", inputs: Sequence[Path], chosen: str | None) -> str:
    """The model's only modality, the one that reads files like these, or the chosen one."""
    from mae_core.build import modality, modality_of
    from mae_core.evaluation.adapt import only_entry

    suffixes = {path.suffix.lower() for path in inputs if not path.is_dir()}
    entries = list(config["model"]["modalities"])
    fitting = [entry for entry in entries if suffixes and suffixes <= set(modality(modality_of(config, entry)).file_suffixes)]
    return only_entry(config, fitting[0] if chosen is None and len(fitting) == 1 else chosen)


def _list_files(inputs: Sequence[Path], suffixes: Sequence[str]) -> list[str]:
    """Every file by the path that it was given by. A folder stands for the files in it and in its folders."""
    from mae_core.data.listing import list_files

    paths: list[str] = []
    for given in inputs:
        if given.is_dir():
            names = list_files(str(given), suffixes=suffixes, key="FILES", what="files of this kind")
            paths += [os.path.join(given, os.fsdecode(name)) for name in names]
        else:
            paths.append(str(given))
    return paths

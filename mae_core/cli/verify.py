"""`mae verify` runs certificates, which compare this installation with published numbers."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mae_registry import Component, MaeError, cause_of, some_of

if TYPE_CHECKING:
    from mae_core.interfaces import Check, Published


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="The certificates to run.", show_default="all that are installed"),
    ] = None,
    numbers: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Use the files in this folder instead of files of the same names that ship with the plugins."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for other programs to read.")] = False,
) -> None:
    """Compare this installation with numbers of the published implementations. Exit with 1 if any of them differ."""
    from mae_core.registry import registry

    certificates = [registry().get("certificates", name) for name in names or registry().names("certificates")]
    if not certificates:
        raise MaeError("no installed plugin has a certificate; `mae plugins --all` lists the plugins that can be installed")
    published = {certificate.name: _published(certificate, numbers) for certificate in certificates}
    if numbers is not None:
        _say_what_is_replaced(published, numbers)
    checks = [(certificate.name, check) for certificate in certificates for check in _run(certificate, published)]
    if as_json:
        typer.echo(json.dumps([_as_json(name, check) for name, check in checks], indent=2))
    else:
        Console().print(_table(checks))
    if differing := sum(not check.passed for _, check in checks):
        raise MaeError(
            f"this installation does not reproduce the published numbers: {differing} of {len(checks)} checks differ"
        )


def _published(certificate: Component, folder: Path | None) -> "Published":
    """The numbers in the import package that the certificate belongs to."""
    from mae_core.interfaces import Published

    return Published(certificate.target.partition(":")[0].partition(".")[0], folder)


def _say_what_is_replaced(published: "Mapping[str, Published]", folder: Path) -> None:
    if not folder.is_dir():
        raise MaeError(f"--numbers {folder}: there is no such folder")
    if replaced := sorted({file for numbers in published.values() for file in numbers.replaced()}):
        Console(stderr=True, soft_wrap=True).print(f"read from {folder}: {', '.join(replaced)}", markup=False, highlight=False)
        return
    known = sorted({file for numbers in published.values() for file in numbers.names()})
    raise MaeError(
        f"--numbers {folder}: no file in it has a name that {', '.join(published)} would read; "
        f"the names are {some_of(known, limit=20)}"
    )


def _run(certificate: Component, published: "Mapping[str, Published]") -> "Iterator[Check]":
    certify = certificate.load()
    try:
        yield from certify(published[certificate.name])
    except Exception as error:
        cause = str(error) if isinstance(error, MaeError) else cause_of(error)
        raise MaeError(f"the certificate {certificate.name!r} of plugin {certificate.plugin!r} cannot run: {cause}") from error


def _as_json(certificate: str, check: "Check") -> dict[str, Any]:
    measured = check.measured if math.isfinite(check.measured) else None  # JSON cannot express infinity
    return {"certificate": certificate, **asdict(check), "measured": measured, "passed": check.passed}


def _table(checks: "Sequence[tuple[str, Check]]") -> Table:
    table = Table(title="Certificates of this installation")
    for heading in ("", "certificate", "check", "error", "allowed", ""):
        table.add_column(heading, justify="right" if heading in ("error", "allowed") else "left")
    for certificate, check in checks:
        verdict = "[green]agrees[/]" if check.passed else "[bold red]DIFFERS[/]"
        error, allowed = f"{check.measured:.2g}", f"{check.tolerance:g}"
        table.add_row(verdict, certificate, escape(check.name), error, allowed, escape(check.detail))
    return table

"""`actiondiff features`: what is in a feature store, and whether it is sound."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["register"]

_Store = Annotated[Path, typer.Argument(help="The feature store's folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    features = typer.Typer(help="Look after feature stores.", no_args_is_help=True)
    features.command("ls")(show)
    features.command()(verify)
    app.add_typer(features, name="features")


def show(store: _Store, as_json: bool = typer.Option(False, "--json", help="For machines.")) -> None:
    """Say what a store holds and with what settings it was made."""
    from actiondiff.features.store import FeatureStore

    found = FeatureStore.open(store)
    keys, index = found.keys(), found.index
    statuses = index["status"].value_counts()
    facts: dict[str, Any] = {
        "store": found.folder.as_posix(),
        "root": found.root.as_posix(),
        "fingerprint": found.fingerprint,
        "features": [str(key) for key in keys],
        "videos": {status: int(statuses.get(status, 0)) for status in ("ok", "partial", "failed")},
        "tokens": int(index.drop_duplicates("identity")["num_tokens"].sum()),
        "bytes": sum(path.stat().st_size for path in store.rglob("*") if path.is_file()),
        "settings": found.settings,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in _flat({**facts, "bytes": f"{facts['bytes'] / 1e6:.1f} MB"}):
        typer.echo(f"{name:32} {value}")


def verify(store: _Store) -> None:
    """Check every file against its checksum and the index. Exits with 3 if anything was wrong.

    What is damaged is moved to the store's quarantine folder; extract makes it anew.
    """
    from actiondiff.features.store import FeatureStore

    found = FeatureStore.open(store)
    problems = found.verify()
    for problem in problems:
        typer.echo(problem)
    if problems:
        typer.echo(f"{len(problems)} problems. Make anew what is missing: actiondiff extract ... -o {store}")
        raise typer.Exit(3)
    typer.echo(f"{len(found.videos())} videos: all is well.")


def _flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append((prefix + name, shown))
    return lines

"""`actiondiff features`: what is in a feature store, and whether it is sound."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["import_", "merge", "show", "verify"]

_Store = Annotated[Path, typer.Argument(help="The feature store's folder.")]


def show(store: _Store, as_json: bool = typer.Option(False, "--json", help="For machines.")) -> None:
    """Show what a feature store holds and how it was made."""
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


def import_(
    source: Annotated[Path, typer.Argument(help="Folder with layer_1, layer_2 ... of .npy files.")],
    store: _Store,
    layout: Annotated[str, typer.Option(help="How the folder is laid out: released.")] = "released",
    backbone: Annotated[str, typer.Option(help="What the features were extracted with.")] = "svd-xt",
    timestep: Annotated[int, typer.Option(help="Diffusion timestep they were extracted at.")] = 20,
    stride: Annotated[int | None, typer.Option(help="Raw frames between rows; 4 by default.")] = None,
    offset: Annotated[int, typer.Option(help="Raw index of the first row's frame.")] = 0,
    frame_rate: Annotated[float | None, typer.Option(help="Frames a second of all videos, if known.")] = None,
    video_suffix: Annotated[str, typer.Option(help="What tables have behind the files' names.")] = ".mp4",
    root: Annotated[Path, typer.Option(help="The videos' folder, for tables to be matched.")] = Path("."),
) -> None:
    """Import features extracted by the authors' released code.

    The exit code is 3 if a file could not be used.
    """
    from actiondiff.features.importers import import_features
    from actiondiff.types import DEFAULT_STRIDE

    summary = import_features(
        source,
        store,
        layout=layout,  # type: ignore[arg-type]  # import_features checks it
        backbone=backbone,
        timestep=timestep,
        stride=DEFAULT_STRIDE if stride is None else stride,
        offset=offset,
        frame_rate=frame_rate,
        video_suffix=video_suffix,
        root=root,
    )
    for video, reason in summary.failed.items():
        typer.echo(f"failed: {video}: {reason}")
    typer.echo(f"{summary.num_videos} videos with {', '.join(summary.layers)}; features in {store}")
    if summary.failed:
        raise typer.Exit(3)


def verify(store: _Store) -> None:
    """Check every file of a store and set damaged ones aside.

    Every file is checked against its checksum and the index. Damaged files are moved to the quarantine folder
    of the store, and `actiondiff extract` makes them again. The exit code is 3 if anything was wrong.
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


def merge(
    stores: Annotated[list[Path], typer.Argument(help="Feature stores of the same settings.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The merged store: new, or added to.")],
    check: Annotated[
        list[Path] | None, typer.Option(help="A table, video or folder whose videos must all be there.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that names are relative to, where stores name others.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy files; never link them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Join feature stores that were filled separately.

    The exit code is 3 if a video lacks features; each such video is named.
    """
    from actiondiff.extraction.plan import name_videos
    from actiondiff.features.merge import merge_stores
    from actiondiff.features.store import FeatureStore

    base = root or FeatureStore.open(stores[0]).root
    expected = name_videos(check, root=root, stored_root=base)[1] if check else ()
    summary = merge_stores(stores, out, root=root, expected=expected, link=not copy)
    if as_json:
        facts = {**asdict(summary), "store": summary.store.as_posix(), "keys": [str(k) for k in summary.keys]}
        typer.echo(json.dumps(facts, indent=2))
    else:
        for status in ("missing", "failed", "partial"):
            for video, reason in getattr(summary, status).items():
                typer.echo(f"{status}: {video}: {reason}")
        typer.echo(
            f"{summary.num_videos} videos with {', '.join(map(str, summary.keys))}: {len(summary.missing)} "
            f"missing, {len(summary.failed)} failed, {len(summary.partial)} partial; features in {out}"
        )
    if not summary.ok:
        raise typer.Exit(3)


def _flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append((prefix + name, shown))
    return lines

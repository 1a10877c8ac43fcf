"""`actiondiff features ls|verify|import|merge`: feature stores."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import JsonOption

if TYPE_CHECKING:
    from actiondiff.types import JSON

__all__ = ["import_features", "ls", "merge", "verify"]

_Store = Annotated[Path, typer.Argument(help="Folder of the feature store.")]


def ls(store: _Store, as_json: JsonOption = False) -> None:
    """Show what a feature store holds and how it was made."""
    from actiondiff.features.store import FeatureStore

    opened = FeatureStore.open(store)
    keys, index = opened.keys(), opened.index
    statuses = index["status"].value_counts()
    facts: dict[str, JSON] = {
        "store": opened.folder.as_posix(),
        "root": opened.root.as_posix(),
        "fingerprint": opened.fingerprint,
        "features": [str(key) for key in keys],
        "videos": {status: int(statuses.get(status, 0)) for status in ("ok", "partial", "failed")},
        "tokens": int(index.drop_duplicates("identity")["num_tokens"].sum()),
        "bytes": (num_bytes := sum(path.stat().st_size for path in store.rglob("*") if path.is_file())),
        "settings": opened.settings,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, text in _flatten({**facts, "bytes": f"{num_bytes / 1e6:.1f} MB"}):
        typer.echo(f"{name:32} {text}")


def import_features(
    source: Annotated[Path, typer.Argument(help="Folder with layer_1, layer_2 ... of .npy files.")],
    store: _Store,
    layout: Annotated[str, typer.Option(help="Layout of the folder; only released is known.")] = "released",
    backbone: Annotated[str, typer.Option(help="Backbone that the features were extracted with.")] = "svd-xt",
    timestep: Annotated[
        int, typer.Option(help="Diffusion timestep that the features were extracted at.")
    ] = 20,
    stride: Annotated[
        int | None, typer.Option(help="Raw frames from one row to the next.  [default: 4]")
    ] = None,
    offset: Annotated[int, typer.Option(help="Index of the first row's raw frame.")] = 0,
    frame_rate: Annotated[
        float | None, typer.Option(help="Frames per second of all videos, if you know it.")
    ] = None,
    video_suffix: Annotated[
        str, typer.Option(help="Suffix that tables add to the names of the files.")
    ] = ".mp4",
    root: Annotated[Path, typer.Option(help="Folder of the videos, so that tables can name them.")] = Path(
        "."
    ),
) -> None:
    """Import features extracted by the authors' released code.

    The exit code is 3 if a file could not be used.
    """
    from actiondiff.features.importers import import_features as import_released
    from actiondiff.outputs.words import counted
    from actiondiff.types import DEFAULT_STRIDE

    summary = import_released(
        source,
        store,
        layout=layout,  # type: ignore[arg-type]  # import_released checks it
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
    typer.echo(
        f"{counted(summary.num_videos, 'video')} with {', '.join(summary.layers)}; features in {store}"
    )
    if summary.failed:
        raise typer.Exit(3)


def verify(store: _Store) -> None:
    """Check every file of a store and set damaged ones aside.

    Every file is checked against its checksum and the index. Damaged files are moved to the quarantine folder
    of the store, and `actiondiff extract` makes them again. The exit code is 3 if anything was wrong.
    """
    from actiondiff.features.store import FeatureStore
    from actiondiff.outputs.words import counted

    opened = FeatureStore.open(store)
    problems = opened.verify()
    for problem in problems:
        typer.echo(problem)
    if problems:
        typer.echo(
            f"{counted(len(problems), 'problem')}. To make what is missing: actiondiff extract ... -o {store}"
        )
        raise typer.Exit(3)
    typer.echo(f"{counted(len(opened.videos()), 'video')}: all is well.")


def merge(
    stores: Annotated[list[Path], typer.Argument(help="Feature stores of the same settings.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The merged store: new, or added to.")],
    check: Annotated[
        list[Path] | None,
        typer.Option(help="A table, video or folder whose videos must all be in the store; repeatable."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that names start at, if the stores disagree about it.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Always copy files instead of linking them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Join feature stores that were filled separately.

    The exit code is 3 if a video lacks features; each such video is named.
    """
    from actiondiff.extraction.plan import name_videos
    from actiondiff.features.merge import merge_stores
    from actiondiff.features.store import FeatureStore
    from actiondiff.outputs.words import counted

    base = root or FeatureStore.open(stores[0]).root
    expected = name_videos(check, root=root, stored_root=base)[1] if check else ()
    summary = merge_stores(stores, out, root=root, expected=expected, link=not copy)
    if as_json:
        values = {
            **asdict(summary), "store": summary.store.as_posix(), "keys": [str(key) for key in summary.keys]
        }  # fmt: skip
        typer.echo(json.dumps(values, indent=2))
    else:
        for status in ("missing", "failed", "partial"):
            for video, reason in getattr(summary, status).items():
                typer.echo(f"{status}: {video}: {reason}")
        typer.echo(
            f"{counted(summary.num_videos, 'video')} with {', '.join(map(str, summary.keys))}: "
            f"{len(summary.missing)} missing, {len(summary.failed)} failed, {len(summary.partial)} partial; "
            f"features in {out}"
        )
    if not summary.ok:
        raise typer.Exit(3)


def _flatten(facts: "Mapping[str, JSON]", prefix: str = "") -> list[tuple[str, str]]:
    """`{"a": {"b": [1, 2]}}` -> `[("a.b", "1, 2")]`."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += _flatten(value, f"{prefix}{name}.")
        else:
            lines.append(
                (prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
            )
    return lines

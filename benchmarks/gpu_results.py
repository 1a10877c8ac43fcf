"""Stores the results of `gpu_extraction.py` in a file and compares them."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from released_path import PARTS, relative_error
from safetensors.torch import load_file, save_file
from torch import Tensor

from actiondiff.provenance import atomic_path

REFERENCE = "ours-float32"  # no half precision and no TF32 anywhere
BASELINE = "released-default"
TARGETS = {"one timestep": 9.0, "grid": 20.0, "share of ceiling": 0.45, "gigabytes": 8.0}


class Results:
    """The figures of all pieces in one file, and their features in files beside it.

    Args:
        path: The JSON file; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.figures: dict[str, Any] = {"pieces": {}}
        if path.exists():
            self.figures = json.loads(path.read_text("utf-8"))

    def keep(self, name: str, figures: dict[str, Any], features: dict[str, Tensor] | None = None) -> None:
        """Write a piece's figures and features."""
        self.figures["pieces"][name] = figures
        if features is not None:
            folder = self._folder
            folder.mkdir(exist_ok=True)
            save_file(
                {key: value.contiguous() for key, value in features.items()}, folder / f"{name}.safetensors"
            )
        self.write()

    def write(self) -> None:
        """Write the JSON file atomically."""
        with atomic_path(self._path) as aside:
            aside.write_text(json.dumps(self.figures, indent=2), encoding="utf-8")

    @property
    def _folder(self) -> Path:
        return self._path.with_suffix(".features")

    def agreement(self) -> dict[str, dict[str, float]]:
        """Relative L2 distance of each piece from the reference: at t20.layer9, and the largest."""
        files = {file.stem: file for file in sorted(self._folder.glob("*.safetensors"))}
        if REFERENCE not in files:
            return {}
        reference = load_file(files[REFERENCE])
        distances = {}
        for name, file in files.items():
            errors = {key: relative_error(tokens, reference[key]) for key, tokens in load_file(file).items()}
            distances[name] = {"t20.layer9": errors["t20.layer9"], "largest of all": max(errors.values())}
        return distances


def summarise(
    figures: Mapping[str, Any], paths: Mapping[str, tuple[str, Mapping[str, str]]]
) -> dict[str, dict[str, Any]]:
    """Summary of each path: speed against the baseline, TFLOP/s and share of the ceiling by part, memory.

    Args:
        figures: Figures as stored in the file.
        paths: Piece -> its kind, and part -> the ceiling that the part's share is of.
    """
    pieces, flop = figures["pieces"], figures["tflop"]
    ceiling, base = pieces.get("ceiling"), pieces.get(BASELINE)
    rows: dict[str, dict[str, Any]] = {}
    for name, piece in pieces.items():
        if "one_seconds" not in piece:
            continue
        kind, ceilings = paths[name]
        seconds = statistics.median(piece["one_seconds"])
        rates = {part: flop[kind][part] / piece["part_seconds"][part] for part in PARTS}
        row: dict[str, Any] = {
            "seconds": seconds,
            "grid_seconds": piece["grid_seconds"],
            "gigabytes": piece["one_memory"].get("allocated_gb"),
            "tflop_per_second": rates | {"all": flop[kind]["all"] / seconds},
        }
        if ceiling:
            row["share_of_ceiling"] = {part: rates[part] / ceiling[ceilings[part]] for part in PARTS}
        if base:
            row["times_faster"] = statistics.median(base["one_seconds"]) / seconds
            row["times_faster_grid"] = base["grid_seconds"] / piece["grid_seconds"]
        rows[name] = row
    return rows


def table(figures: dict[str, Any]) -> str:
    """The summary in Markdown."""
    lines = [
        "| path | s | times | grid s | times | TFLOP/s | share U-Net | share VAE | GB | rel. L2 |",
        "|--|--|--|--|--|--|--|--|--|--|",
    ]
    for name, row in figures["summary"].items():
        share = row.get("share_of_ceiling", {})
        near = figures["agreement"].get(name, {}).get("t20.layer9")
        cells = [
            f"{row['seconds']:.3f}",
            _cell(row.get("times_faster"), ".2f"),
            f"{row['grid_seconds']:.3f}",
            _cell(row.get("times_faster_grid"), ".2f"),
            f"{row['tflop_per_second']['all']:.1f}",
            _cell(share.get("U-Net"), ".0%"),
            _cell(share.get("VAE"), ".0%"),
            _cell(row["gigabytes"], ".1f"),
            _cell(near, ".1e"),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, piece in figures["pieces"].items():
        if "share_by_kind" in piece:
            shares = ", ".join(f"{kind} {share:.0%}" for kind, share in piece["share_by_kind"].items())
            lines.append(f"\n{name}, {piece['seconds']:.3f} s on the device: {shares}")
        if "skipped" in piece:
            lines.append(f"\n{name}: skipped, {piece['skipped']}")
    return "\n".join([*lines, f"\ntargets: {TARGETS}"])


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)

"""Tables of the evaluation of the built-in backbone, in Markdown; `builtin.py` prints them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SHIFTS = ("species", "context", "view")
COLUMNS = ("in-domain", *SHIFTS)
LAYERS = ("layer3", "layer6", "layer9", "layer12")
GRID_TIMESTEPS = (5, 10, 15, 20, 25, 29)
CONTROL_LAYERS = ("layer3", "layer12")
CONTROL_TIMESTEPS = (5, 25)


def grid_markdown(result: dict[str, Any]) -> str:
    """Tables of the grid: scores of each cell, the effect of the timestep, and the controls."""
    lines = []
    for name, cells in result["cells"].items():
        head = " | ".join(f"t{timestep}" for timestep in GRID_TIMESTEPS)
        lines += [f"{name.capitalize()}, in domain / mean of shifts:", "", f"| layer | {head} |"]
        lines.append("|" + "--|" * (len(GRID_TIMESTEPS) + 1))
        for layer in LAYERS:
            row = " | ".join(_both(cells[f"t{timestep} {layer}"]) for timestep in GRID_TIMESTEPS)
            lines.append(f"| {layer.removeprefix('layer')} | {row} |")
        lines.append("")
    last = GRID_TIMESTEPS[-1]
    lines += [
        f"Trained, mean over layers, minus the same at t{last}, with 95 % intervals over individuals:",
        "",
        "| timestep | in domain | mean of shifts | shifts minus in domain |",
        "|--|--|--|--|",
    ]
    for timestep, values in result["effect"].items():
        cells = " | ".join(_difference(cell) for cell in values.values())
        lines.append(f"| {timestep.removeprefix('t')} | {cells} |")
    heads = [f"t{t} {layer}" for layer in CONTROL_LAYERS for t in CONTROL_TIMESTEPS]
    named = " | ".join(head.replace("layer", "layer ") for head in heads)
    lines += ["", "One thing changed at a time, in domain / mean of shifts:", "", f"| changed | {named} |"]
    lines.append("|" + "--|" * (len(heads) + 1))
    for name, cells in result["controls"].items():
        lines.append(f"| {name} | " + " | ".join(_both(cells[head]) for head in heads) + " |")
    return "\n".join(lines) + "\n"


def _both(cell: dict[str, float]) -> str:
    outside = float(np.mean([cell[shift] for shift in SHIFTS]))
    return f"{100 * cell['in-domain']:.0f} / {100 * outside:.0f}"


def _difference(cell: dict[str, Any]) -> str:
    low, high = cell["interval"]
    return f"{100 * cell['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def markdown(result: dict[str, Any]) -> str:
    """Tables of the comparison: scores of every feature, and differences from the trained network."""
    head = "| features | layer | " + " | ".join((*COLUMNS, "mean of shifts")) + " |"
    lines = [head, "|" + "--|" * (len(COLUMNS) + 3)]
    for name, row in result["rows"].items():
        cells = [
            f"{100 * row['scores'][column]:.1f} ({100 * low:.0f} to {100 * high:.0f})"
            for column, (low, high) in row["intervals"].items()
        ]
        layers = ", ".join(sorted({layer.removeprefix("layer") for layer in row["layers"]})) or "-"
        lines.append(f"| {name} | {layers} | " + " | ".join(cells) + " |")
    lines += ["", "| trained minus | " + " | ".join((*COLUMNS, "mean of shifts")) + " |"]
    lines.append("|" + "--|" * (len(COLUMNS) + 2))
    for name, row in result["differences"].items():
        lines.append(f"| {name} | " + " | ".join(_difference(cell) for cell in row.values()) + " |")
    return "\n".join(lines) + "\n"


def training_table(log: Path) -> str:
    """Table of a pre-training run: means over fifths of each stage, with errors by noise level."""
    rows = pd.DataFrame([json.loads(line) for line in log.read_text("utf-8").splitlines()])
    rows = rows.rename(columns={"psnr": "PSNR, dB", "chroma": "share of colour lost"})
    measures = [name for name in rows.columns if name not in ("stage", "step")]
    rows["fifth"] = rows.groupby("stage")["step"].transform(lambda steps: (steps - 1) * 5 // steps.max())
    lines = ["| stage | steps | " + " | ".join(measures) + " |", "|" + "--|" * (len(measures) + 2)]
    for (stage, _), part in rows.groupby(["stage", "fifth"], sort=False):
        cells = ["-" if np.isnan(value := part[name].mean()) else f"{value:.3f}" for name in measures]
        steps = f"{part['step'].min()} to {part['step'].max()}"
        lines.append(f"| {stage} | {steps} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def put_between(text: str, name: str, tables: str) -> str:
    """Replace what stands between the marks `<!-- NAME -->` and `<!-- end -->` of a text."""
    begin, end = f"<!-- {name} -->\n", "<!-- end -->"
    before, mark, rest = text.partition(begin)
    if not mark or end not in rest:
        raise SystemExit(f"the text has no {begin.strip()} ... {end}")
    return before + begin + "\n" + tables + "\n" + rest[rest.index(end) :]


def put_into(text: str, result: dict[str, Any]) -> str:
    """Put tables into a text at their marks: `figures: TARGETS` or `grid`, and `training` with a log."""
    settings = (
        f"{result['train']} training clips, {result['test']} test clips per column, "
        f"{result['pretraining_seeds']} pre-training x {result['head_seeds']} head seeds; accuracy in %, "
        f"chance 12.5; {result['targets']} targets; world {result['world'][:12]}."
    )
    if "cells" in result:
        return put_between(text, "grid", f"{settings}\n\n{grid_markdown(result)}")
    options = "".join(f", {name} {value}" for name, value in result["options"].items())
    settings += f" Timestep {result['timestep']}{options}; 95 % intervals over individuals and seeds.\n"
    text = put_between(text, f"figures: {result['targets']}", settings + "\n" + markdown(result))
    return put_between(text, "training", result["training"]) if "training" in result else text

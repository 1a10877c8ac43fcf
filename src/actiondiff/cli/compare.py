"""`actiondiff compare`: two runs on the same clips."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import JsonOption

__all__ = ["compare"]


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of the first run, A.", metavar="RUN_A")],
    second: Annotated[Path, typer.Argument(help="Folder of the second run, B.", metavar="RUN_B")],
    as_json: JsonOption = False,
) -> None:
    """Compare two runs on the clips that both tested.

    Prints the scores of A minus those of B, with intervals over groups and seeds.
    """
    from actiondiff.cli.output.scores import print_comparison
    from actiondiff.experiments.compare import compare as compare_runs
    from actiondiff.provenance import json_values

    comparison = compare_runs(first, second)
    if as_json:
        typer.echo(json.dumps(json_values(asdict(comparison)), indent=2, allow_nan=False))
    else:
        print_comparison(comparison)

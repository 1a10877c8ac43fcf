"""Scores of a run, of an evaluation and of a comparison."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from actiondiff.outputs.words import counted

if TYPE_CHECKING:
    from actiondiff.evaluation.results import EvaluationMetrics, LeftOutClip, Metrics
    from actiondiff.evaluation.scores import SideScores
    from actiondiff.experiments.compare import Comparison

__all__ = ["print_comparison", "print_evaluation", "print_run"]

_MAX_DOMAINS = 6  # domains whose scores are printed; all are in metrics.json


def print_run(folder: Path, metrics: "Metrics") -> None:
    """Print whether a run is better than guessing, its data, its scores, and what to be careful about."""
    from actiondiff.evaluation.results import SeedsMetrics
    from actiondiff.evaluation.verdict import chance_verdict

    counts, test, leaks = metrics.counts, metrics.test, metrics.leaks
    typer.echo(chance_verdict(test).sentence)
    typer.echo(f"feature {metrics.feature}; split: {metrics.split}")
    typer.echo(
        f"{counts['train']} training, {counts['validation']} validation and "
        f"{counted(counts['test'], 'test clip')}"
    )
    if isinstance(metrics, SeedsMetrics):
        for name, mean in metrics.mean.items():
            spread = f"sd {100 * metrics.sd[name]:.1f} over {len(metrics.seeds)} seeds"
            typer.echo(f"{name}: {100 * mean:.1f} % ({spread})")
        typer.echo(f"{metrics.best} is taken, {metrics.why_best}; its test scores:")
    if test:
        _print_scores(test, title=counted(test.num_clips, "test clip"))
        _print_domains(test.by_domain or {})
    if leaks:
        typer.echo(
            f"{counted(len(leaks), 'leak')}: the same {leaks[0].kind} is on both sides, e.g. {leaks[0].name}."
        )
    _print_lines(_missing_features(metrics.missing), metrics.cautions)
    typer.echo(f"written to {folder}")


def print_evaluation(metrics: "EvaluationMetrics") -> None:
    """Print whether the model is better than guessing, its scores, and what to be careful about."""
    from actiondiff.evaluation.verdict import chance_verdict

    typer.echo(chance_verdict(metrics).sentence)
    num_left_out = metrics.num_left_out_as_trained_on
    if num_left_out:
        typer.echo(
            f"{counted(num_left_out, 'clip was', 'clips were')} left out: the model was trained or selected "
            "on them."
        )
    _print_scores(metrics, title=counted(metrics.num_clips, "test clip"))
    _print_lines(_missing_features(metrics.missing), metrics.cautions)


def print_comparison(comparison: "Comparison") -> None:
    """Print the differences between two runs, and their tests."""
    from rich.console import Console
    from rich.table import Table

    from actiondiff.evaluation.judge import METRICS

    num_trainings = " and ".join(map(str, comparison.num_seeds))
    title = f"{comparison.num_clips} clips of {comparison.num_groups} groups; {num_trainings} training runs"
    table = Table("score", "A minus B", "95 % interval", "p", title=title)
    for name, contrast in comparison.differences.items():
        interval = f"{100 * contrast.low:+.1f} to {100 * contrast.high:+.1f}"
        table.add_row(METRICS[name], f"{100 * contrast.value:+.1f}", interval, f"{contrast.p:.3f}")
    Console(markup=False, emoji=False).print(table)
    typer.echo(f"p by flipping the signs of whole groups: {comparison.sign_flip_p:.4f}")
    if comparison.mcnemar:
        exact = comparison.mcnemar
        typer.echo(
            f"Only A is right on {exact.only_first} clips, only B on {exact.only_second}; exact McNemar p "
            f"{exact.p:.4f}, if clips are independent"
        )
    if comparison.num_apart:
        typer.echo(f"{comparison.num_apart} clips were tested by only one of the runs and are left out")


def _print_scores(scores: "SideScores", *, title: str) -> None:
    """Print a table of scores with their intervals and floors."""
    from rich.console import Console
    from rich.table import Table

    from actiondiff.report.card import outside_words, score_rows

    table = Table("score", "value", "95 % interval", "prior floor", title=title)
    for row in score_rows(scores):
        table.add_row(*row)
    Console(markup=False, emoji=False).print(table)  # names of domains are printed as they are
    if words := outside_words(scores):
        typer.echo(words)


def _print_domains(domains: "dict[str, SideScores]") -> None:
    if len(domains) > _MAX_DOMAINS:
        typer.echo(f"the scores of each of {len(domains)} domains are in metrics.json")
    elif len(domains) > 1:
        for name, scores in domains.items():
            _print_scores(scores, title=f"{name}: {counted(scores.num_clips, 'test clip')}")


def _missing_features(clips: "Sequence[LeftOutClip]") -> list[str]:
    if not clips:
        return []
    first = clips[0]
    return [f"{counted(len(clips), 'clip')} without features, e.g. {first.video} ({first.reason})."]


def _print_lines(*paragraphs: Iterable[str]) -> None:
    for paragraph in paragraphs:
        for line in paragraph:
            typer.echo(line)

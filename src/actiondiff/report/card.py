"""Numbers as rows of text, and the model card of a run."""

from collections.abc import Mapping, Sequence

from actiondiff.evaluation.judge import METRICS
from actiondiff.evaluation.results import SeedsMetrics, TrainingMetrics
from actiondiff.evaluation.scores import SideScores
from actiondiff.heads.bundle import ModelConfig

__all__ = ["cautions", "model_card", "percent", "score_rows", "seeds_card"]

_FEW_TEST, _FEW_A_CLASS, _SHOWN = 30, 10, 6


def percent(value: float | None) -> str:
    """`0.7123` -> `71.2 %`; a dash where there is no number."""
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def score_rows(side: SideScores) -> list[tuple[str, str, str, str]]:
    """Metric, score, 95 % interval and prior floor: one row per metric that exists."""
    rows = []
    for name, title in METRICS.items():
        value = side.scores.total(name)
        if value is None:
            continue
        bounds = side.intervals.get(name)
        span = f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %" if bounds else "–"
        rows.append((title, percent(value), span, percent(side.prior_floor.total(name))))
    return rows


def cautions(
    num_test: int,
    train_counts: Mapping[str, int],
    *,
    partial: Mapping[str, float] | None = None,
    released: bool = False,
) -> list[str]:
    """Why the numbers may mean little, in sentences; none if all is well and there are clips enough.

    Args:
        num_test: Clips tested.
        train_counts: Class -> training clips.
        partial: Video that decoded in part only -> share of its frames.
        released: Whether the epoch was chosen on the test clips.
    """
    found = []
    if not num_test:
        found.append("No clips were tested: nothing is known of how good it is.")
    elif num_test < _FEW_TEST:
        clips = "1 clip was" if num_test == 1 else f"{num_test} clips were"
        found.append(f"Only {clips} tested: the score means little.")
    if released:
        found.append("The epoch was chosen on the test clips: the scores are too high to expect again.")
    rare = sorted((count, label) for label, count in train_counts.items() if count < _FEW_A_CLASS)
    if rare:
        shown = ", ".join(f"{label} ({count})" for count, label in rare[:_SHOWN])
        more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
        found.append(
            f"Fewer than {_FEW_A_CLASS} training clips for {shown}{more}: expect little of these classes."
        )
    if partial:
        video, coverage = min(partial.items(), key=lambda item: item[1])
        found.append(f"{len(partial)} videos decoded in part only, the least {video} ({coverage:.0%}).")
    return found


def model_card(config: ModelConfig, metrics: TrainingMetrics) -> str:
    """README.md of a run, in Markdown."""
    backbone, counts, fit = config.backbone, metrics.counts, metrics.fit
    weights = f"weights `{backbone['weights'][:24]}`" if "weights" in backbone else "it has no weights"
    several = " or several" if config.activation == "sigmoid" else ""
    lines = [
        "# An action recognition head",
        "",
        f"Names one{several} of {len(config.labels)} actions in a video: {', '.join(config.labels)}.",
        "",
        f"It reads the feature `{', '.join(config.keys)}` of the frozen backbone `{backbone['name']}`",
        f"({weights}), which is not included. Made with ActionDiff; to use it:",
        "`actiondiff predict THIS_FOLDER VIDEOS -o OUT`.",
        "",
        "## Data",
        f"{counts['train']} clips to train on, {counts['validation']} to validate, {counts['test']} to test.",
        f"Split: {metrics.split}.",
        f"Of {fit.num_epochs} epochs number {fit.best_epoch} is kept, {fit.selection}.",
        "",
        "## Numbers",
        *_table(metrics),
        "",
        "The prior floor is what guessing by the training clips' class frequencies scores. Intervals are",
        "95 %, over resampled groups.",
        "",
        "## Limits",
        *[f"- {sentence}" for sentence in metrics.cautions],
    ]
    if metrics.leaks:
        lines.append(f"- {len(metrics.leaks)} leaks between the sides were found; see metrics.json.")
    if metrics.missing:
        lines.append(f"- {len(metrics.missing)} clips had no features and were left out; see metrics.json.")
    lines.append(
        "- It was tested on clips like those above and on nothing else. On another site, test again."
    )
    return "\n".join(lines) + "\n"


def _table(metrics: TrainingMetrics) -> Sequence[str]:
    if metrics.test is None:
        return ["No test clips: nothing is known of how good it is."]
    return [
        "| on the test clips | score | interval | prior floor |",
        "|---|---|---|---|",
        *["| " + " | ".join(row) + " |" for row in score_rows(metrics.test)],
    ]


def seeds_card(metrics: SeedsMetrics) -> str:
    """README.md of a run with several seeds, in Markdown."""
    lines = [
        f"# The same training with {len(metrics.seeds)} seeds",
        "",
        f"`{metrics.best}` is the one that is taken for prediction: {metrics.why_best}.",
        f"Split: {metrics.split}.",
        "",
        "| on the test clips | mean | standard deviation over seeds |",
        "|---|---|---|",
        *[
            f"| {title} | {percent(metrics.mean[name])} | {percent(metrics.sd[name])} |"
            for name, title in METRICS.items()
            if name in metrics.mean
        ],
        "",
        *[f"- {sentence}" for sentence in metrics.cautions],
    ]
    return "\n".join(lines) + "\n"

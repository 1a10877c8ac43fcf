"""Numbers as rows of text, and the model card of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from actiondiff.evaluation.judge import METRICS

__all__ = ["cautions", "model_card", "percent", "score_rows"]

_FEW_TEST, _FEW_A_CLASS = 30, 10


def percent(value: float | None) -> str:
    """`0.7123` -> `71.2 %`; a dash where there is no number."""
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def score_rows(side: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Metric, score, 95 % interval, prior floor: one row a metric that exists.

    Args:
        side: An entry of metrics.json such as `metrics["test"]`.
    """
    rows = []
    for name, title in METRICS.items():
        value = side["scores"][name]
        if value is None:
            continue
        low, high = side["intervals"].get(name, (None, None))
        span = "–" if low is None else f"{100 * low:.1f} to {100 * high:.1f} %"
        rows.append((title, percent(value), span, percent(side["prior_floor"][name])))
    return rows


def cautions(num_test: int, train_counts: Mapping[str, int]) -> list[str]:
    """Why the numbers may mean little, in sentences; none if there are clips enough."""
    found = []
    if num_test < _FEW_TEST:
        found.append(f"Only {num_test} clips were tested: the score means little.")
    rare = {label: count for label, count in train_counts.items() if count < _FEW_A_CLASS}
    if rare:
        shown = ", ".join(
            f"{label} ({count})" for label, count in sorted(rare.items(), key=lambda x: x[1])[:6]
        )
        more = f" and {len(rare) - 6} more" if len(rare) > 6 else ""
        found.append(
            f"Fewer than {_FEW_A_CLASS} training clips for {shown}{more}: expect little of these classes."
        )
    return found


def model_card(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """README.md of a run, in Markdown."""
    backbone, counts, fit = config["backbone"], metrics["counts"], metrics["fit"]
    several = " or several" if config["activation"] == "sigmoid" else ""
    lines = [
        "# An action recognition head",
        "",
        f"Names one{several} of {len(config['labels'])} actions in a video: {', '.join(config['labels'])}.",
        "",
        f"It reads the feature `{', '.join(config['keys'])}` of the frozen backbone `{backbone['name']}`",
        f"(weights `{backbone['weights'][:24]}`), which is not included. Made with ActionDiff; to use it:",
        "`actiondiff predict THIS_FOLDER VIDEOS -o OUT`.",
        "",
        "## Data",
        f"{counts['train']} clips to train on, {counts['validation']} to validate, {counts['test']} to test.",
        f"Split: {metrics['split']}. Of {fit['num_epochs']} epochs number {fit['best_epoch']} was chosen, by",
        f"{fit['selected_on']} on {fit['selected_by']}.",
        "",
        "## Numbers",
        *_table(metrics),
        "",
        "The prior floor is what guessing by the training clips' class frequencies scores. Intervals are",
        "95 %, over resampled groups.",
        "",
        "## Limits",
        *[f"- {sentence}" for sentence in metrics["cautions"]],
    ]
    if metrics["leaks"]:
        lines.append(f"- {len(metrics['leaks'])} leaks between the sides were found; see metrics.json.")
    if metrics["missing"]:
        lines.append(
            f"- {len(metrics['missing'])} clips had no features and were left out; see metrics.json."
        )
    lines.append(
        "- It was tested on clips like those above and on nothing else. On another site, test again."
    )
    return "\n".join(lines) + "\n"


def _table(metrics: Mapping[str, Any]) -> Sequence[str]:
    if metrics["test"] is None:
        return ["No test clips: nothing is known of how good it is."]
    return [
        "| on the test clips | score | interval | prior floor |",
        "|---|---|---|---|",
        *["| " + " | ".join(row) + " |" for row in score_rows(metrics["test"])],
    ]

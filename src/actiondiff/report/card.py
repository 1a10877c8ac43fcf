"""Model cards of runs, sentences that qualify numbers, and numbers as rows of text."""

from collections.abc import Mapping, Sequence

from actiondiff.evaluation.judge import METRICS
from actiondiff.evaluation.results import SeedsMetrics, TrainingMetrics
from actiondiff.evaluation.scores import SideScores
from actiondiff.evaluation.verdict import chance_verdict
from actiondiff.heads.bundle import ModelConfig
from actiondiff.outputs.words import counted

__all__ = ["cautions", "model_card", "outside_words", "percent", "score_rows", "seeds_card"]

_FEW_TEST, _FEW_PER_CLASS, _LISTED = 30, 10, 6


def percent(value: float | None) -> str:
    """Write a share as a percentage: `0.7123` -> `71.2 %`; a dash where the number does not exist."""
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


def outside_words(side: SideScores) -> str:
    """Say how many clips the guard places outside, and why; empty where there is no guard."""
    outside = side.outside
    if outside is None:
        return ""
    clips = f"{outside.num_clips} of {counted(side.num_clips, 'test clip')}"
    if not outside.num_clips:
        return f"{clips} lie outside what the model has learnt from."
    causes = ", ".join(f"{name} {number}" for name, number in outside.causes.items())
    lie = "lies" if outside.num_clips == 1 else "lie"
    return (
        f"{clips} ({100 * outside.num_clips / side.num_clips:.0f} %) {lie} outside what the model has learnt "
        f"from ({causes}). They count here, while predict gives no label to videos that lie outside."
    )


def cautions(
    num_test: int,
    train_counts: Mapping[str, int],
    *,
    partial: Mapping[str, float] | None = None,
    released: bool = False,
) -> list[str]:
    """Write the sentences that qualify the numbers; none where there are enough clips and no problems.

    The sentences are stored in `metrics.json`.

    Args:
        num_test: Number of test clips.
        train_counts: Class -> number of training clips.
        partial: Video that decoded only in part -> share of its frames.
        released: Whether the epoch was chosen on the test clips.
    """
    sentences = []
    if not num_test:
        sentences.append("No clips were tested: nothing is known of how good it is.")
    elif num_test < _FEW_TEST:
        clips = counted(num_test, "clip was", "clips were")
        sentences.append(f"Only {clips} tested: the score means little.")
    if released:
        sentences.append("The epoch was chosen on the test clips: the scores are too high to expect again.")
    rare = sorted((count, label) for label, count in train_counts.items() if count < _FEW_PER_CLASS)
    if rare:
        listed = ", ".join(f"{label} ({count})" for count, label in rare[:_LISTED])
        more = f" and {len(rare) - _LISTED} more" if len(rare) > _LISTED else ""
        sentences.append(
            f"Fewer than {_FEW_PER_CLASS} training clips for {listed}{more}: expect little of these classes."
        )
    if partial:
        video, coverage = min(partial.items(), key=lambda item: item[1])
        sentences.append(
            f"{counted(len(partial), 'video')} decoded in part only, the least {video} ({coverage:.0%})."
        )
    return sentences


def model_card(config: ModelConfig, metrics: TrainingMetrics) -> str:
    """Write the README.md of a run, in Markdown."""
    backbone, counts, fit = config.backbone, metrics.counts, metrics.fit
    weights = f"weights `{backbone['weights'][:24]}`" if "weights" in backbone else "without weights"
    several = " or more" if config.activation == "sigmoid" else ""
    lines = [
        "# An action recognition head",
        "",
        chance_verdict(metrics.test).sentence,
        "",
        f"This head predicts one{several} of {len(config.labels)} actions in a video: "
        f"{', '.join(config.labels)}.",
        "",
        *_features(config, weights),
        "`actiondiff predict THIS_FOLDER VIDEOS -o OUT`.",
        "",
        "## Data",
        f"{counted(counts['train'], 'training clip')}, "
        f"{counted(counts['validation'], 'validation clip')} and {counted(counts['test'], 'test clip')}.",
        f"Split: {metrics.split}.",
        f"Training ran for {counted(fit.num_epochs, 'epoch')}; the head has the weights of epoch "
        f"{fit.best_epoch}, {fit.selection}.",
        "",
        "## Numbers",
        *_table(metrics),
        "",
        "The prior floor is the score of guessing by the class frequencies of the training clips. Intervals",
        "are 95 % intervals over resampled groups.",
        "",
        "## Limits",
        *[f"- {sentence}" for sentence in metrics.cautions],
    ]
    if metrics.leaks:
        lines.append(
            f"- {counted(len(metrics.leaks), 'leak')} between the sides of the split; see metrics.json."
        )
    if metrics.missing:
        count = counted(len(metrics.missing), "clip has", "clips have")
        was = "was" if len(metrics.missing) == 1 else "were"
        lines.append(f"- {count} no features and {was} left out; see metrics.json.")
    lines.append(
        "- It was tested only on clips like those above. Test it again before using it at another site."
    )
    return "\n".join(lines) + "\n"


def _features(config: ModelConfig, weights: str) -> list[str]:
    """Say which features the head reads, of one backbone or of several."""
    if not config.further:
        return [
            f"It reads the feature `{', '.join(config.keys)}` of the frozen backbone "
            f"`{config.backbone['name']}`",
            f"({weights}), which is not included. It was made with ActionDiff; to use it:",
        ]
    parts = [config.part(name).backbone for name in ("", *config.further)]
    checkpoints = [
        f"`{part['name']}`: {'weights `' + part['weights'][:24] + '`' if 'weights' in part else 'no weights'}"
        for part in parts
    ]
    return [
        f"It reads the features {config.sources}, which are frozen backbones",
        f"({', '.join(checkpoints)}), not included. It was made with ActionDiff; to use it:",
    ]


def _table(metrics: TrainingMetrics) -> Sequence[str]:
    if metrics.test is None:
        return ["There were no test clips, so nothing is known about its accuracy."]
    return [
        "| on the test clips | score | interval | prior floor |",
        "|---|---|---|---|",
        *["| " + " | ".join(row) + " |" for row in score_rows(metrics.test)],
        *(["", words] if (words := outside_words(metrics.test)) else []),
    ]


def seeds_card(metrics: SeedsMetrics) -> str:
    """Write the README.md of a study over several seeds, in Markdown."""
    lines = [
        f"# One study with {len(metrics.seeds)} seeds",
        "",
        chance_verdict(metrics.test).sentence,
        "",
        f"Predictions use `{metrics.best}`: {metrics.why_best}.",
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

"""The card of a student: README.md in its folder."""

from collections.abc import Mapping
from typing import Any

from actiondiff.backbones.student import StudentConfig
from actiondiff.distillation.nearness import Agreement, Nearness, WorkOfWindow
from actiondiff.distillation.pictures import NEAR, Reach

__all__ = ["SVD_XT_FLOP", "student_card"]

SVD_XT_FLOP = 99.5e12
"""Operations of one window of `svd-xt` at 576 x 1024, layer 9 (benchmarks/extraction.py --count-only)."""


def student_card(
    config: StudentConfig,
    nearness: Mapping[str, Nearness],
    work: WorkOfWindow,
    agreement: Agreement | None,
    reach: Reach | None,
    *,
    num_recordings: tuple[int, int],
    options: Mapping[str, Any],
) -> str:
    """Write the card.

    Args:
        config: Config of the student.
        nearness: `held_out` and `train` -> how near the tokens are.
        work: What a window costs.
        agreement: Agreement of a head's predictions on held-out recordings, if a model was given.
        reach: Which held-out videos the student places outside; None if it cannot tell.
        num_recordings: Number of recordings to learn from, and of held-out ones.
        options: Options of the distillation.
    """
    teacher, held_out, train = config.teacher["name"], nearness["held_out"], nearness["train"]
    lines = [
        f"# A student of {teacher}",
        "",
        f"This small network stands in for the feature {config.key} of the backbone `{teacher}` on videos "
        f"like those that it learnt from: {num_recordings[0]} recordings, without labels. Its tokens have "
        "the teacher's width, times and name, so that heads trained on the teacher take them:",
        "",
        "```",
        "actiondiff predict RUN VIDEOS -o OUT --student STUDENT",
        "actiondiff extract VIDEOS -o STORE --backbone student --weights STUDENT",
        "```",
        "",
        "## How near it is",
        "| | recordings | videos | tokens | correlation | cosine | unexplained |",
        "|---|---|---|---|---|---|---|",
        _row("held out", num_recordings[1], held_out),
        _row("learnt from", num_recordings[0], train),
        "",
        "The correlation is over tokens, the mean of all channels. The cosine is of standardised tokens. "
        "Unexplained is the squared distance as a share of the teacher's own variance: 0 is perfect, and 1 "
        "is a student that always says the mean.",
        "",
    ]
    if agreement is not None:
        lines += [
            f"On {agreement.num_videos} held-out videos the predictions of a head that was trained on the "
            f"teacher have the same most probable label in {100 * agreement.same_label:.1f} %; probabilities "
            f"differ by {agreement.difference:.3f} on average.",
        ]
        if agreement.student_outside is not None and agreement.teacher_outside is not None:
            lines += [
                f"The model's guard places {100 * agreement.student_outside:.1f} % of these videos outside "
                f"what the model has learnt from; with the teacher's features "
                f"{100 * agreement.teacher_outside:.1f} %.",
            ]
        lines += [""]
    lines += ["## What a window costs", *_cost(config, work), ""]
    lines += [
        "## Where it strays",
        *_reach(reach),
        "Before you use it on videos of another kind, extract features of some with the teacher, and distill "
        "again with these.",
        "",
        "## How it was made",
        "`actiondiff distill`, with "
        + ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
        + f". Frames of {config.height} x {config.width} pixels, windows of {config.window}, sampled with "
        + ", ".join(f"{name} {value}" for name, value in config.sampling.items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _reach(reach: Reach | None) -> list[str]:
    """What the student itself says about videos that are unlike those that it learnt from."""
    if reach is None:
        return [
            "A student has learnt what its teacher says about these videos, and about nothing else. This one "
            "learnt from too few recordings to tell which pictures are unlike them: nothing warns where it "
            "strays."
        ]
    inside = (
        "none lies inside"
        if reach.near_inside is None
        else (f"of those inside, {100 * reach.near_inside:.0f} % are near")
    )
    return [
        "A student has learnt what its teacher says about these videos, and about nothing else. It compares "
        "the pictures of a video (the colours' means, contrasts, and steps from pixel to pixel and from "
        "frame to frame) with those that it learnt from. Predictions say `student` among the reasons for "
        "`outside` where they are farther away than pictures were for which it was near its teacher. Near "
        f"means that at most {100 * NEAR:.0f} % of the teacher's variance are unexplained. Of "
        f"{reach.num_videos} held-out videos {100 * reach.near:.0f} % are near, and "
        f"{100 * reach.outside:.0f} % lie outside; {inside}. It cannot tell where pictures of the same kind "
        "show something new."
    ]


def _row(name: str, recordings: int, values: Nearness) -> str:
    numbers = f"{values.correlation:.3f} | {values.cosine:.3f} | {values.unexplained:.3f}"
    return f"| {name} | {recordings} | {values.num_videos} | {values.num_tokens} | {numbers} |"


def _cost(config: StudentConfig, work: WorkOfWindow) -> list[str]:
    unit = "s of processor time" if work.device == "cpu" else "s"
    ours = [f"{_tflop(work.student_flop)} TFLOP, {work.student_seconds:.3g} {unit} on {work.device}"]
    lines = [f"- the student: {ours[0]}"]
    theirs = f"- {config.teacher['name']}: {_tflop(work.teacher_flop)} TFLOP"
    if work.teacher_seconds is not None:
        theirs += f", {work.teacher_seconds:.3g} {unit}, measured in turns with the student"
    lines.append(theirs + (f"; not timed, because {work.not_timed}" if work.not_timed else ""))
    if work.student_flop and work.teacher_flop:
        ratio = f"{work.teacher_flop / work.student_flop:,.0f} times fewer operations than the teacher"
        if work.teacher_seconds is not None:
            ratio += f", {work.teacher_seconds / work.student_seconds:.1f} times less time"
        lines.append(f"- {ratio}")
    if work.student_flop:
        lines.append(
            f"- one {SVD_XT_FLOP / work.student_flop:,.0f}th of the operations of a window of `svd-xt`"
        )
    return lines


def _tflop(flop: float | None) -> str:
    return "an unknown number of" if flop is None else f"{flop / 1e12:.3g}"

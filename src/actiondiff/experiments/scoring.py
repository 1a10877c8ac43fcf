"""The scores of a trained head on each side of its study's split, and the confidence of its predictions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from actiondiff.datasets.base import value_of
from actiondiff.datasets.packing import PackedFeatures
from actiondiff.evaluation.calibration import calibrate, fit_calibration, judge_calibration
from actiondiff.evaluation.judge import judge, judge_by_value, prediction_table, restrict
from actiondiff.evaluation.options import ProtocolOptions
from actiondiff.evaluation.scores import Calibration, SideScores
from actiondiff.experiments.data import StudyData
from actiondiff.experiments.outside import count_outside
from actiondiff.experiments.timelines import choose_timeline, usual_timeline
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import predict_probabilities
from actiondiff.inference.guard import Guard
from actiondiff.training.batches import by_identity

__all__ = ["calibrate_head", "score_sides"]

_MIN_SUPPORT = 10  # training clips of a class, below which cross-validation leaves its threshold as it is


def calibrate_head(
    head: Head,
    config: ModelConfig,
    data: StudyData,
    protocol: ProtocolOptions,
    *,
    store: FeatureStore,
    root: Path,
    held_out: Sequence[tuple[Head, PackedFeatures]] | None = None,
) -> tuple[ModelConfig, Calibration | None]:
    """Choose a head's temperature, which it keeps, its thresholds and its timeline options.

    Args:
        head: The trained head.
        config: Its config, before calibration.
        data: Clips of the study; the validation clips are chosen on, the test clips only show the result.
        protocol: Names the domain.
        store: Features of the whole validation videos, for timelines.
        root: Folder that the videos' paths are relative to.
        held_out: Heads of `held_out_heads` with their clips, to calibrate on instead of the validation clips;
            where it is empty, nothing is calibrated.

    Returns:
        The config with what was chosen, and the calibration in numbers; None without clips to calibrate on.
    """
    config = config.replaced(span_tokens=int(data.train.lengths.median()))
    config = config.replaced(timeline=usual_timeline(config))
    if held_out is not None:
        if not held_out:
            return config, None
        calibration = fit_calibration(held_out, config.activation, min_support=_MIN_SUPPORT)
        calibration = calibration.model_copy(update={"num_folds": len(held_out)})
        head.temperature = calibration.temperature
        config = config.replaced(thresholds=calibration.thresholds)
    elif data.validation is None:
        return config, None
    else:
        # Sorted, so that the order of the table's rows changes no bit.
        validation = by_identity(data.validation)
        calibration = calibrate(head, validation, config.activation)
        config = config.replaced(thresholds=calibration.thresholds)
        timeline = choose_timeline(head, config, store, validation.examples, root)
        if timeline is not None:
            config = config.replaced(**timeline)
    tested = None
    if data.test is not None:
        test = by_identity(data.test)
        domains = [value_of(clip, protocol.domain) for clip in test.examples] if protocol.domain else []
        tested = judge_calibration(head, test, config.activation, domains=domains)
    return config, calibration.model_copy(update={"test": tested})


def score_sides(
    head: Head,
    config: ModelConfig,
    data: StudyData,
    protocol: ProtocolOptions,
    *,
    guard: Guard,
    store: FeatureStore,
) -> tuple[dict[str, SideScores], dict[str, pd.DataFrame]]:
    """Score a head on the validation clips, the test clips and, where asked for, clips of the source.

    Args:
        head: The trained and calibrated head.
        config: Its config.
        data: Clips of the study.
        protocol: Names the domain, and the clips of the source to score.
        guard: The head's guard, which tells which test clips lie outside.
        store: Store of the features, which also knows times and pictures of the videos.

    Returns:
        Side -> scores, and side -> table of predictions, without those of the validation clips.
    """
    # The floor guesses by the class frequencies of the training clips, among the classes that are scored.
    activation, labels = config.activation, data.scored_labels
    no_probabilities = np.zeros(data.train.targets.shape, dtype=np.float32)
    source, _ = restrict(data.train, no_probabilities, activation, labels)

    in_domain = data.train if protocol.score_source == "training" else data.in_domain
    sides = {"validation": data.validation, "test": data.test, "in_domain": in_domain}
    scores: dict[str, SideScores] = {}
    predictions: dict[str, pd.DataFrame] = {}
    for side, packed in sides.items():
        if packed is None:
            continue
        probabilities = predict_probabilities(head, packed, activation)
        clips, probabilities = restrict(packed, probabilities, activation, labels)
        side_scores = judge(clips, probabilities, activation, source.targets.numpy())
        if protocol.domain and side != "validation":
            by_domain = judge_by_value(clips, probabilities, activation, source, protocol.domain)
            side_scores = side_scores.model_copy(update={"by_domain": by_domain})
        if side == "test":
            outside = count_outside(guard, clips, data.rows, store)
            side_scores = side_scores.model_copy(update={"outside": outside})
        if side == "in_domain":
            side_scores = side_scores.model_copy(update={"clips": protocol.score_source})
        if side != "validation":
            predictions[side] = prediction_table(clips, probabilities)
        scores[side] = side_scores
    return scores, predictions

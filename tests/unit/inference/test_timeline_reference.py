"""Bouts and their scores against slow references written from the definitions, frame by frame.

The files they come from are awkward: an uneven rate, a first time that is not 0, every third frame kept.
"""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from actiondiff.datasets.packing import pack_arrays
from actiondiff.evaluation.calibration import calibrate, calibration_error, confidence_of
from actiondiff.evaluation.segments import IOUS, frame_scores, frame_truth, segment_scores
from actiondiff.heads import build_head
from actiondiff.heads.options import HeadOptions
from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline, finish
from actiondiff.types import Bout, Example
from actiondiff.video.decode import read_video

LABELS = ("eat", "run", "sit")


def film(path: Path, times: list[float]) -> None:
    """Frame i is shown at times[i] seconds of the file's clock."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def raw(seconds: np.ndarray, index: np.ndarray, scores: np.ndarray, end: float, activation) -> Timeline:
    return Timeline("a.mkv", LABELS, seconds, index, end, scores.astype(np.float32), (), activation, {},
                    TimelineOptions())  # fmt: skip


def slow_smooth(scores: np.ndarray, seconds: np.ndarray, smooth: float) -> np.ndarray:
    """The mean of as many frames to the left as to the right as the time holds; the ends are repeated."""
    steps = sorted(b - a for a, b in pairwise(seconds))
    middle = len(steps) // 2
    period = steps[middle] if len(steps) % 2 else (steps[middle - 1] + steps[middle]) / 2
    reach = int(smooth / 2 / period + 1e-9)
    out = np.zeros_like(scores)
    for t in range(len(scores)):
        around = [min(max(u, 0), len(scores) - 1) for u in range(t - reach, t + reach + 1)]
        out[t] = sum(scores[u] for u in around) / len(around)
    return out


def slow_bouts(scores, edges, thresholds, options, *, exclusive) -> set[tuple[str, float, float]]:
    """Frame by frame: hold, fill gaps, drop what is short, fill gaps again; until nothing can change."""
    held = np.zeros(scores.shape, dtype=bool)
    for t, row in enumerate(scores):
        for k, value in enumerate(row):
            top = all(value > other if j < k else value >= other for j, other in enumerate(row) if j != k)
            held[t, k] = value >= thresholds[LABELS[k]] and (top or not exclusive)

    def runs(column):
        found, start = [], None
        for t, value in enumerate([*column, False]):
            if value and start is None:
                start = t
            elif not value and start is not None:
                found.append((start, t))
                start = None
        return found

    def fill(held):
        filled = held.copy()
        for k in range(len(LABELS)):
            own = runs(held[:, k])
            for (_, a), (b, _) in pairwise(own):
                others = held[a:b].any() if exclusive else False
                if edges[b] - edges[a] <= options.max_gap_seconds + 1e-9 and not others:
                    filled[a:b, k] = True
        return filled

    held = fill(held)
    for k in range(len(LABELS)):
        for a, b in runs(held[:, k]):
            if edges[b] - edges[a] < options.min_seconds - 1e-9:
                held[a:b, k] = False
    held = fill(held)
    return {
        (label, round(edges[a], 6), round(edges[b], 6))
        for k, label in enumerate(LABELS)
        for a, b in runs(held[:, k])
    }


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("seed", range(6))
def test_smoothing_gaps_and_short_bouts(seed, activation):
    random = np.random.default_rng(seed)
    count = 120
    seconds = np.cumsum(random.choice([0.08, 0.12, 0.12, 0.5], count))
    seconds -= seconds[0]
    level = np.repeat(random.random((count // 6, 3)), 6, axis=0)
    scores = 0.7 * level + 0.3 * random.random((count, 3))
    scores = (scores / scores.sum(1, keepdims=True) if activation == "softmax" else scores).astype(np.float32)
    thresholds = dict(zip(LABELS, (0.2, 0.5, 0.35), strict=True))
    cases = ((0, 0, 0), (0.5, 0.4, 0.2), (1.0, 1.0, 1.0), (0, 2, 0.5), (0.24, 0, 3), (3, 0.7, 0))
    smooth, shortest, gap = cases[seed]
    options = TimelineOptions(smooth_seconds=smooth, min_seconds=shortest, max_gap_seconds=gap, background="")
    end = float(seconds[-1]) + 0.12
    found = finish(raw(seconds, np.arange(count), scores, end, activation), thresholds, options)
    expected = slow_smooth(scores.astype(np.float64), seconds, smooth)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    bouts = slow_bouts(
        found.probabilities, [*seconds, end], thresholds, options, exclusive=activation == "softmax"
    )
    assert {(b.label, round(b.start_seconds, 6), round(b.end_seconds, 6)) for b in found.bouts} == bouts
    assert bouts


@pytest.mark.parametrize("name", ["uneven.mkv", "uneven.mp4"])
def test_bouts_are_in_the_seconds_of_the_frames(tmp_path, name):
    """Every third frame of an uneven film that begins at 5 s on its own clock (in Matroska)."""
    steps = np.random.default_rng(3).choice([0.02, 0.04, 0.2], 60)
    times = np.round(np.cumsum(steps), 3) + (5 if name.endswith("mkv") else 0)
    film(tmp_path / name, times.tolist())
    frames = read_video(tmp_path / name, stride=3)
    shown = times[::3] - times[0]
    np.testing.assert_allclose(frames.seconds, shown, atol=1.1e-3)
    assert frames.frame_index.tolist() == list(range(0, 60, 3))
    scores = np.full((20, 3), 0.1)
    scores[4:9, 1] = 0.9
    made = raw(frames.seconds, frames.frame_index, scores, float(shown[-1]) + 0.1, "sigmoid")
    (bout,) = finish(made, dict.fromkeys(LABELS, 0.5), TimelineOptions()).bouts
    assert bout.label == "run"
    assert bout.start_seconds == pytest.approx(times[12] - times[0], abs=1.1e-3)
    assert bout.end_seconds == pytest.approx(times[27] - times[0], abs=1.1e-3)


def slow_average_precision(scores, truth) -> float:
    """Sum over distinct scores, from the highest, of precision times what recall gains there."""
    total, before = 0.0, 0.0
    for limit in sorted(set(scores), reverse=True):
        said = [t for s, t in zip(scores, truth, strict=True) if s >= limit]
        recall = sum(said) / sum(truth)
        total += (recall - before) * sum(said) / len(said)
        before = recall
    return total


def slow_segment_ap(said, true, iou) -> float:
    """Said and true: (video, start, end[, probability]); area below the best precision from a recall on."""
    taken, points, hits = set(), [], 0
    for rank, (video, a, b, _) in enumerate(sorted(said, key=lambda item: -item[3]), start=1):
        best, where = 0.0, None
        for j, (other, c, d) in enumerate(true):
            if other != video or j in taken:
                continue
            shared = max(0.0, min(b, d) - max(a, c))
            value = shared / ((b - a) + (d - c) - shared)
            if value > best:
                best, where = value, j
        if where is not None and best >= iou:
            taken.add(where)
            hits += 1
        points.append((hits / len(true), hits / rank))
    area, before = 0.0, 0.0
    for recall, _ in points:
        if recall > before:
            area += (recall - before) * max(p for r, p in points if r >= recall)
            before = recall
    return area


def times_of(bout: Bout) -> tuple[float, float]:
    return bout.start_seconds, bout.end_seconds


@pytest.mark.parametrize("seed", range(4))
def test_frame_and_segment_scores(seed):
    random = np.random.default_rng(seed)
    times = {v: np.cumsum(random.choice([0.1, 0.4], 80)) for v in ("a", "b")}

    def bouts(video, jitter):
        edges = np.sort(np.random.default_rng(seed + ord(video)).uniform(0, 18, 24)).reshape(-1, 2)
        edges = np.sort(edges + jitter * random.normal(size=edges.shape), axis=1)
        names = np.random.default_rng(seed).integers(0, 3, 12)
        return [
            Bout(LABELS[k], float(a), float(b), float(random.random()))
            for (a, b), k in zip(edges, names, strict=True)
        ]

    truth = {v: bouts(v, 0) for v in times}
    said = {v: [b for b in bouts(v, 0.25) if random.random() < 0.8] for v in times}
    held = {
        name: np.concatenate([frame_truth(own[v], times[v], LABELS) for v in times])
        for name, own in (("said", said), ("truth", truth))
    }
    rows = [(v, t) for v in times for t in times[v]]
    for k, label in enumerate(LABELS):
        for i, (v, t) in enumerate(rows):
            for name, own in (("said", said), ("truth", truth)):
                inside = any(b.label == label and b.start_seconds <= t < b.end_seconds for b in own[v])
                assert held[name][i, k] == inside
    scores = np.round(0.5 * held["truth"] + 0.5 * random.random(held["truth"].shape), 1).astype(np.float32)
    found = frame_scores(scores, held["said"], held["truth"], LABELS)
    f1s, precisions = [], []
    for k, entry in enumerate(found.per_class):
        pairs = list(zip(held["said"][:, k], held["truth"][:, k], strict=True))
        tp, fp, fn = (pairs.count(pair) for pair in ((True, True), (True, False), (False, True)))
        assert entry.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn))
        ap = slow_average_precision(scores[:, k].tolist(), held["truth"][:, k].tolist())
        assert entry.average_precision == pytest.approx(ap)
        f1s.append(entry.f1)
        precisions.append(ap)
    assert found.macro_f1 == pytest.approx(np.mean(f1s))
    assert found.macro_ap == pytest.approx(np.mean(precisions))

    segments = segment_scores(said, truth, LABELS)
    for iou in IOUS:
        areas = [
            slow_segment_ap(
                [(v, *times_of(b), b.probability) for v in said for b in said[v] if b.label == label],
                [(v, *times_of(b)) for v in truth for b in truth[v] if b.label == label],
                iou,
            )
            for label in LABELS
        ]
        assert segments.map[f"{iou:g}"] == pytest.approx(np.mean(areas))
    assert segments.mean_map == pytest.approx(np.mean(list(segments.map.values())))
    assert 0 < segments.map["0.7"] < segments.map["0.3"]


@pytest.mark.parametrize("multi_label", [False, True])
def test_expected_calibration_error(multi_label):
    """Ten steps of confidence, [0, 0.1) to [0.9, 1]: distance of mean confidence and accuracy, by clips."""
    random = np.random.default_rng(5)
    scores = softmax(2 * random.normal(size=(200, 3)), axis=1).astype(np.float32)
    truth = np.eye(3, dtype=bool)[[random.choice(3, p=row / row.sum()) for row in scores.astype(float)]]
    if multi_label:
        truth |= random.random(truth.shape) < 0.2
    pairs = []
    for row, true in zip(scores, truth, strict=True):
        own = range(3) if multi_label else [max(range(3), key=lambda k: row[k])]
        pairs += [(float(row[k]), bool(true[k])) for k in own]
    error = 0.0
    for step in range(10):
        inside = [(c, r) for c, r in pairs if step / 10 <= c < (step + 1) / 10 or (step == 9 and c == 1)]
        if inside:
            mean = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(r for _, r in inside) / len(inside)
            error += len(inside) / len(pairs) * abs(mean - accuracy)
    found = calibration_error(*confidence_of(scores, truth, multi_label=multi_label))
    assert found == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_temperature(activation):
    """The best of a fine grid, by the log loss of logits that are four times too sure, plus its prior."""
    random = np.random.default_rng(6)
    logits = random.normal(size=(60, 3)).astype(np.float32) * 1.5
    truth = np.eye(3)[[random.choice(3, p=row) for row in softmax(logits.astype(float), axis=1)]]
    head = build_head(HeadOptions(name="mean-linear", max_tokens=4), 3, 3).eval()
    (linear,) = (module for module in head.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(4 * torch.eye(3))
        linear.bias.zero_()
    examples = [Example(str(i), (LABELS[int(row.argmax())],)) for i, row in enumerate(truth)]
    found = calibrate(head, pack_arrays(list(logits[:, None]), examples, LABELS), activation)

    def cost(temperature: float) -> float:
        scaled = 4 * logits.astype(float) / temperature
        if activation == "softmax":
            loss = -np.log(softmax(scaled, axis=1))[truth == 1].sum()
        else:
            loss = -np.where(truth == 1, np.log(expit(scaled)), np.log(expit(-scaled))).sum()
        return loss + np.log(temperature) ** 2 / 2

    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4000))
    best = grid[np.argmin([cost(t) for t in grid])]
    assert found.temperature == pytest.approx(best, rel=0.01)
    assert head.temperature == found.temperature
    assert found.temperature > 2
    assert found.after["log_loss"] < found.before["log_loss"]

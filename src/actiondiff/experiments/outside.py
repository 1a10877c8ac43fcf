"""How many test clips a model's guard places outside what the model has learnt from."""

from collections import Counter
from collections.abc import Mapping

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.evaluation.scores import ClipsOutside
from actiondiff.features.manifest import Row
from actiondiff.features.store import FeatureStore
from actiondiff.inference.guard import Guard

__all__ = ["count_outside"]


def count_outside(
    guard: Guard | None, clips: PackedFeatures, rows: Mapping[str, Row], store: FeatureStore
) -> ClipsOutside | None:
    """Compare clips with those that a model was trained on.

    Args:
        guard: The model's guard; None for models of older versions.
        clips: The clips, with the tokens that the head takes.
        rows: Video -> its row in the store's index.
        store: Store of their features, which also knows times and pictures of the videos.

    Returns:
        The number of clips outside, and why; None if the model has no guard.
    """
    if guard is None:
        return None
    positions: dict[str, list[int]] = {}  # by content, so that each video is looked up once
    for position, example in enumerate(clips.examples):
        positions.setdefault(rows[example.video].identity, []).append(position)
    tokens = clips.tokens.cpu().tensor_split(clips.offsets[1:-1])
    num_outside, causes = 0, Counter[str]()
    for identity, own in positions.items():
        video = store.load(identity, [])
        for position in own:
            checked = guard.check(video, tokens[position].numpy())
            num_outside += checked.is_outside
            causes.update(name for name, distance in checked.distances.items() if distance > 1)
    return ClipsOutside(num_clips=num_outside, causes=dict(sorted(causes.items())))

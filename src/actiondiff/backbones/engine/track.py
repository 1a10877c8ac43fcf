"""The layer `track`: what a crop takes out of the picture, as further channels of tokens."""

from collections.abc import Sequence

import numpy as np

from actiondiff.types import TRACK, Array, DoubleArray, FeatureKey

__all__ = ["TRACK_CHANNELS", "network_keys", "track_tokens"]

TRACK_CHANNELS = 3


def network_keys(keys: Sequence[FeatureKey]) -> list[FeatureKey]:
    """The features that a backbone computes: all but those of the layer `track`."""
    return [key for key in keys if key.layer != TRACK]


def track_tokens(places: DoubleArray | None, num_tokens: int) -> Array:
    """Tokens of the layer `track`.

    Args:
        places: (T, 4), where the crop of each token's first frame lies (see `CropPlace.row`); None for whole
            videos.
        num_tokens: Number of tokens T.

    Returns:
        (T, 3) float32. Channels 0 and 1: by how much the crop's centre has moved to the right and down since
        the token before, in sides of the crop; 0 for the first token, and where either shows the whole
        picture or another piece of the track, with another side. Channel 2: the longer side of the animal's
        box as a share of the crop's side; 0 for a whole picture.
    """
    tokens = np.zeros((num_tokens, TRACK_CHANNELS), np.float32)
    if places is None or not num_tokens:
        return tokens
    pieces = places[:, 0]
    moved = (pieces[1:] == pieces[:-1]) & (pieces[1:] >= 0)
    tokens[1:, :2] = np.where(moved[:, None], np.diff(places[:, 1:3], axis=0), 0)
    tokens[:, 2] = places[:, 3]
    return tokens

"""Packing the features of examples into tensors: clips of any length, one after the other.

Examples are matched to their features by the video's path, never by order. Examples without features are left
out and listed; nothing replaces them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from actiondiff.errors import StoreError, TableError, UnknownNameError, UsageError
from actiondiff.features.joined import JoinedStore
from actiondiff.features.store import FeatureStore
from actiondiff.types import Array, Example, FeatureKey, Features

__all__ = [
    "Batch",
    "MissingClip",
    "PackedFeatures",
    "clips_without_features",
    "encode_labels",
    "join",
    "pack",
    "pack_arrays",
]


class Batch(NamedTuple):
    """Clips as one batch, padded with zeros to the longest.

    Attributes:
        tokens: (B, T, D) float32.
        mask: (B, T) bool, True where a token is real; real tokens come first.
        targets: (B, K) float32, 1 for the clip's classes.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor


class MissingClip(NamedTuple):
    """An example without features, and the reason."""

    example: Example
    reason: str


@dataclass(frozen=True, eq=False)
class PackedFeatures:
    """The tokens of N clips in one tensor, without padding.

    Attributes:
        tokens: (sum of T, D) float32, clip after clip, on any device.
        offsets: (N + 1,) int64 on the CPU; clip i has the tokens from offsets[i] up to offsets[i + 1].
        targets: (N, K) float32, 1 for the clip's classes; on the tokens' device.
        examples: The N clips.
        label_names: The K classes.
        missing: Examples that were left out because they have no features.
    """

    tokens: torch.Tensor
    offsets: torch.Tensor
    targets: torch.Tensor
    examples: tuple[Example, ...]
    label_names: tuple[str, ...]
    missing: tuple[MissingClip, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def token_width(self) -> int:
        """Width D of a token."""
        return self.tokens.shape[1]

    @property
    def lengths(self) -> torch.Tensor:
        """(N,) int64, number of tokens of each clip."""
        return self.offsets.diff()

    def gather(self, starts: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gather stretches of the packed tokens into a padded batch.

        Args:
            starts: (B,) int64, row of `tokens` that each stretch begins with.
            lengths: (B,) int64, at least 1 each.

        Returns:
            Tokens (B, T, D) float32, zero where padded, and mask (B, T) bool; T is the longest length.
        """
        steps = torch.arange(int(lengths.max()))
        mask = steps < lengths[:, None]  # (B, T)
        rows = torch.where(mask, starts[:, None] + steps, 0).to(self.tokens.device)
        mask = mask.to(self.tokens.device)
        return self.tokens[rows].masked_fill(~mask[..., None], 0), mask

    def batch(self, indices: Sequence[int] | torch.Tensor, *, max_tokens: int) -> Batch:
        """Batch of the clips with these indices; longer clips are cut to their first `max_tokens` tokens."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        tokens, mask = self.gather(self.offsets[chosen], self.lengths[chosen].clamp(max=max_tokens))
        return Batch(tokens, mask, self.targets[chosen.to(self.targets.device)])

    def subset(self, indices: Sequence[int]) -> "PackedFeatures":
        """The clips with these indices, in this order; the result has no `missing`."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        spans = [torch.arange(int(self.offsets[i]), int(self.offsets[i + 1])) for i in chosen.tolist()]
        rows = torch.cat([torch.zeros(0, dtype=torch.int64), *spans])
        return PackedFeatures(
            tokens=self.tokens[rows.to(self.tokens.device)],
            offsets=_offsets(self.lengths[chosen].tolist()),
            targets=self.targets[chosen.to(self.targets.device)],
            examples=tuple(self.examples[i] for i in chosen.tolist()),
            label_names=self.label_names,
        )

    def to(self, device: str | torch.device) -> "PackedFeatures":
        """A copy with tokens and targets on a device."""
        return replace(self, tokens=self.tokens.to(device), targets=self.targets.to(device))


def encode_labels(examples: Sequence[Example], label_names: Sequence[str]) -> Array:
    """Encode labels as (N, K) float32, 1 where an example has the class; all zeros without labels.

    Raises:
        UnknownNameError: If an example has a label that is not among `label_names`.
    """
    column = {name: index for index, name in enumerate(label_names)}
    targets = np.zeros((len(examples), len(label_names)), dtype=np.float32)
    for row, example in enumerate(examples):
        for label in example.labels:
            if label not in column:
                hint = f"It is a label of {example.video}; leave out such clips, or train with this label."
                raise UnknownNameError("label", label, label_names, hint)
            targets[row, column[label]] = 1
    return targets


def pack_arrays(
    arrays: Sequence[Array],
    examples: Sequence[Example] | None = None,
    label_names: Sequence[str] = (),
    *,
    missing: Sequence[MissingClip] = (),
) -> PackedFeatures:
    """Pack features that are in memory.

    Args:
        arrays: One array (T, D) float32 per clip, with T at least 1.
        examples: The clips with their labels; by default clips without name and labels.
        label_names: The K classes.
        missing: Clips to list as left out.

    Raises:
        UsageError: If there is no clip, a clip is empty or has another width, or the numbers differ.
        UnknownNameError: If an example has a label that is not among `label_names`.
    """
    examples = [Example("")] * len(arrays) if examples is None else examples
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) != 1 or len(shapes[0]) != 1 or any(len(array) == 0 for array in arrays):
        raise UsageError(
            f"features must be (T, D) arrays of one width D with T at least 1; got {len(arrays)} arrays, "
            f"widths {shapes}, shortest T {min(map(len, arrays), default=0)}."
        )
    if len(examples) != len(arrays):
        raise UsageError(
            f"packing needs as many examples as arrays; got {len(examples)} for {len(arrays)} arrays."
        )
    return PackedFeatures(
        tokens=torch.from_numpy(np.concatenate(arrays).astype(np.float32, copy=False)),
        offsets=_offsets([len(array) for array in arrays]),
        targets=torch.from_numpy(encode_labels(examples, label_names)),
        examples=tuple(examples),
        label_names=tuple(label_names),
        missing=tuple(missing),
    )


def join(parts: Sequence[PackedFeatures]) -> PackedFeatures:
    """Put the clips of several packs, which have the same classes and width, into one."""
    lengths = torch.cat([part.lengths for part in parts])
    return PackedFeatures(
        tokens=torch.cat([part.tokens for part in parts]),
        offsets=_offsets(lengths.tolist()),
        targets=torch.cat([part.targets for part in parts]),
        examples=tuple(example for part in parts for example in part.examples),
        label_names=parts[0].label_names,
        missing=tuple(clip for part in parts for clip in part.missing),
    )


def pack(
    store: FeatureStore,
    examples: Sequence[Example],
    key: FeatureKey | Sequence[FeatureKey],
    label_names: Sequence[str],
    *,
    root: str | os.PathLike[str] | None = None,
) -> PackedFeatures:
    """Read the features of examples from a store.

    Args:
        store: The feature store.
        examples: The clips; a clip with a span gets the tokens with start <= seconds < end.
        key: The feature; several are concatenated in each token (see `FeatureChoice.combine`).
        label_names: The K classes.
        root: Folder that the examples' paths are relative to; None if they are names in the store's index.

    Raises:
        StoreError: If no example has features, features are not finite, or a store of several that are joined
            lacks some of them.
        TableError: If spans hold no token, or times are unknown; the error lists all such rows.
        UnknownNameError: If a feature was not extracted, or a label is not among `label_names`.
    """
    keys = [key] if isinstance(key, FeatureKey) else list(key)
    # What has no features is listed, not replaced.
    identities, missing = _join(store, examples, root)
    if not identities:
        raise StoreError(
            f"none of the {len(examples)} clips has features in {store.folder}: "
            f"{missing[0].example.video + ' is ' + missing[0].reason if missing else 'no clips were given'}. "
            f"Names there are relative to {store.root}; extract these videos, leave them out of the "
            "table, or give root= (--root) if the table's paths start elsewhere."
        )
    if isinstance(store, JoinedStore):
        store.check_contents(identities.values(), keys)
    arrays: dict[int, Array] = {}
    problems: dict[int, str] = {}
    for identity, positions in _by_content(identities).items():
        features = store.load(identity, keys)
        tokens = np.concatenate([features[item] for item in keys], axis=1)
        if not np.isfinite(tokens).all():
            name = examples[positions[0]].video
            raise StoreError(
                f"features of {name} are not finite. Run: actiondiff features verify {store.folder}"
            )
        for position in positions:
            try:
                arrays[position] = tokens[_span(features, examples[position])]
            except UsageError as error:
                problems[position] = f"{examples[position].video}: {error}"
    if problems:
        raise TableError(
            "rows without a sampled frame (correct their times, leave them out, or extract with a smaller "
            "stride)",
            [problems[position] for position in sorted(problems)],
        )
    order = sorted(arrays)
    return pack_arrays([arrays[i] for i in order], [examples[i] for i in order], label_names, missing=missing)


def clips_without_features(
    store: FeatureStore, examples: Sequence[Example], *, root: str | os.PathLike[str] | None = None
) -> list[MissingClip]:
    """The examples that `pack` could not read from a store, with the reasons.

    Args:
        store: The feature store.
        examples: The clips.
        root: Folder that the examples' paths are relative to; None if they are names in the store's index.

    Raises:
        StoreError: If a file of features is missing or damaged.
    """
    identities, missing = _join(store, examples, root)
    for identity, positions in _by_content(identities).items():
        times = store.load(identity, [])
        for position in positions:
            try:
                _span(times, examples[position])
            except UsageError as error:
                missing.append(MissingClip(examples[position], str(error)))
    return missing


def _join(
    store: FeatureStore, examples: Sequence[Example], root: str | os.PathLike[str] | None
) -> tuple[dict[int, str], list[MissingClip]]:
    """Position of an example -> identity of its video's content; and the examples without features."""
    identities: dict[int, str] = {}
    missing: list[MissingClip] = []
    failures = store.failures
    for position, example in enumerate(examples):
        name = example.video
        if root is not None:
            name = Path(os.path.relpath(Path(root) / name, store.root)).as_posix()
        row = store.row(name)
        if row is not None and row.file:
            identities[position] = row.identity
        elif name in failures:
            missing.append(MissingClip(example, f"failed: {failures[name].reason}"))
        else:
            missing.append(MissingClip(example, "not in the store"))
    return identities, missing


def _by_content(identities: dict[int, str]) -> dict[str, list[int]]:
    """Identity -> positions, so that a video is read once however many spans it has."""
    positions: dict[str, list[int]] = {}
    for position, identity in identities.items():
        positions.setdefault(identity, []).append(position)
    return positions


def _span(features: Features, example: Example) -> slice:
    """The tokens of an example's span.

    Raises:
        UsageError: If the span holds no token, or the tokens' times are unknown.
    """
    start, end = example.start_seconds, example.end_seconds
    if start is None and end is None:
        return slice(0, len(features))
    seconds = features.seconds
    if seconds is None:
        raise UsageError("the times of its frames are unknown, so no span can be cut")
    first = 0 if start is None else int(np.searchsorted(seconds, start))
    stop = len(seconds) if end is None else int(np.searchsorted(seconds, end))
    if first >= stop:
        span = f"{'the beginning' if start is None else start} to {'the end' if end is None else end}"
        raise UsageError(
            f"no token lies in {span} (seconds); its {len(seconds)} tokens are at {seconds[0]:.2f} to "
            f"{seconds[-1]:.2f}"
        )
    return slice(first, stop)


def _offsets(lengths: Sequence[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0)

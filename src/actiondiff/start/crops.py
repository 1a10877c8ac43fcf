"""Animals that boxes cut out of the labelled videos, in place of whole videos, on the road of `start`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.datasets.crop_folder import TABLE_CSV
from actiondiff.datasets.crop_tables import INDIVIDUAL, table_of_crops
from actiondiff.datasets.packing import PackedFeatures, pack
from actiondiff.experiments.recipe import FeatureChoice
from actiondiff.features.description import CROPS_FOLDER
from actiondiff.features.store import FeatureStore
from actiondiff.types import Example

__all__ = ["about_crops", "boxes_words", "crops_table", "pack_whole"]


def boxes_words(boxes: Path | None, root: Path | None) -> tuple[str, ...]:
    """Options of a command that takes boxes; none without boxes."""
    if boxes is None:
        return ()
    return ("--boxes", str(boxes), *(() if root is None else ("--boxes-root", str(root))))


def crops_table(store: Path) -> Path:
    """The table of the crops that an extraction into a store has written."""
    return store / CROPS_FOLDER / TABLE_CSV


def about_crops(examples: Sequence[Example], store: FeatureStore, root: Path) -> tuple[Example, ...]:
    """The examples in the same order, about the crops that the store holds of their videos, if any."""
    return table_of_crops(Table(Path("the labels"), root, tuple(examples)), store, root).examples


def pack_whole(examples: Iterable[Example], store: FeatureStore, root: Path) -> PackedFeatures:
    """Features of the whole videos of some examples, or of their individuals, under the videos' names."""
    individuals = dict.fromkeys((e.video, e.columns.get(INDIVIDUAL, "")) for e in examples)
    whole = [Example(video, ("clip",), columns={INDIVIDUAL: name}) for video, name in individuals]
    about = about_crops(whole, store, root)
    names = {own.video: example.video for own, example in zip(about, whole, strict=True)}
    packed = pack(store, about, FeatureChoice().key(store), ("clip",), root=root)
    examples = tuple(replace(example, video=names[example.video]) for example in packed.examples)
    return replace(packed, examples=examples)

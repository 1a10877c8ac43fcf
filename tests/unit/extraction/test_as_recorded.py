"""A store that is there decides on what changes rounding only, unless one asks otherwise."""

from tests.conftest import store_settings

from actiondiff.backbones.base import load_backbone
from actiondiff.backbones.options import BackboneOptions
from actiondiff.extraction.api import as_recorded
from actiondiff.features.store import FeatureStore


def test_batch_and_threads_of_a_store_are_kept(tmp_path):
    backbone = load_backbone("tiny", batch=3, threads=2)
    settings = store_settings(**backbone.settings)
    FeatureStore.create(tmp_path / "fs", settings=settings, root=tmp_path)
    kept = as_recorded(tmp_path / "fs")
    assert (kept.batch, kept.threads) == (3, 2)
    assert as_recorded(tmp_path / "fs", BackboneOptions(batch=5)).batch == 5
    assert as_recorded(tmp_path / "none", BackboneOptions(height=32)) == BackboneOptions(height=32)

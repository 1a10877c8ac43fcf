"""Labelled clips: tables, folders, published datasets, and their features as tensors."""

from actiondiff.registry import Registry

__all__ = ["DATASETS"]

DATASETS = Registry("dataset", {})
"""Name -> `PublishedDataset`: where to get it, its annotation files, its protocols, and its reader.

Every dataset registers itself through an entry point of the group `actiondiff.datasets`.
"""

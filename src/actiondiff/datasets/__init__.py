"""Labelled clips: tables, folders, labels of other programs, published datasets; and clips as tensors."""

from actiondiff.registry import Registry

__all__ = ["DATASETS"]

DATASETS = Registry("dataset", {})
"""Name -> `PublishedDataset`: where to get it, its annotation files, its protocols and its reader.

Every dataset is registered through an entry point of the group `actiondiff.datasets`.
"""

"""Labelled clips: tables, folders, published datasets, and their features as tensors."""

from actiondiff.registry import Registry

__all__ = ["DATASETS"]

DATASETS = Registry(
    "dataset",
    {
        "animal-kingdom": "actiondiff.datasets.animal_kingdom:ANIMAL_KINGDOM",
        "charades-ego": "actiondiff.datasets.charades_ego:CHARADES_EGO",
        "ucf-hmdb": "actiondiff.datasets.ucf_hmdb:UCF_HMDB",
    },
)
"""Name -> `PublishedDataset`: where it is to be had, its annotation files, its protocols, and its reader."""

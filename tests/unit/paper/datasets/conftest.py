"""The excerpts of the published datasets, written once."""

import pytest

from actiondiff.paper.datasets.excerpts import EXCERPTS, write_excerpt


@pytest.fixture(scope="session")
def excerpts(tmp_path_factory):
    """Dataset's name -> folder with its excerpt."""
    return {name: write_excerpt(name, tmp_path_factory.mktemp(name)) for name in EXCERPTS}

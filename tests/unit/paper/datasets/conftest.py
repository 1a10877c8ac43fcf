"""The samples of the published datasets, written once."""

import pytest

from actiondiff.paper.datasets.samples import SAMPLES, write_sample


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """Dataset's name -> folder with its sample."""
    return {name: write_sample(name, tmp_path_factory.mktemp(name)) for name in SAMPLES}

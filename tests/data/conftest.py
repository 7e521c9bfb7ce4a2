"""What the tests of batches share."""

import pytest
from batch_dataset import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("toys"))

"""The number of threads to use."""

import os

import numpy as np
import pytest

from cmah.errors import CodesError
from cmah.threads import thread_count


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_impossible_numbers_of_threads(threads):
    with pytest.raises(CodesError, match="threads is"):
        thread_count(threads)


def test_as_many_threads_as_cores_by_default():
    assert thread_count(None) == len(os.sched_getaffinity(0))
    assert thread_count(np.int64(3)) == 3

"""What must hold of a damaged run folder."""

import pytest

from cmah.errors import CmahError
from cmah.runs.encoder import Encoder
from cmah.training.starting import train


def refused(toy, run, message, loads=False):
    """Resuming is refused and changes nothing; so is loading, unless it does not need what is damaged."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(CmahError, match=message):
        train(toy, run, resume=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    if loads:
        Encoder.load(run)
    else:
        with pytest.raises(CmahError, match=message):
            Encoder.load(run)

"""Which evaluations stand together, and which are shown of many."""

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation import evaluate
from cmah.evaluation.evaluations import Evaluation, by_direction, longest


def evaluation(width=8, name="", direction="image -> shape", floats=False):
    rng = np.random.default_rng(1)
    known = {"categories": np.repeat(["a", "b", "c"], 10)}
    if floats:
        rows = Embeddings(rng.standard_normal((30, width)).astype(np.float32), **known)
    else:
        rows = BinaryCodes.from_bits(rng.integers(0, 2, (30, width)), **known)
    return Evaluation(direction, rows, rows[::-1], evaluate(rows, rows[::-1], bootstrap=0), name)


def test_longest_prefers_codes_to_embeddings():
    a, b, c = evaluation(8), evaluation(16), evaluation(99, floats=True)
    d = evaluation(4, direction="shape -> image")
    assert longest([a, b, c, d]) == [b, d]
    assert longest([c]) == [c]
    assert [(name, len(group)) for name, group in by_direction([a, b, c, d])] == [
        ("image → shape", 3),
        ("shape → image", 1),
    ]
    assert (b.width, c.width) == ("16 bits", "99 floats")

"""Codes with everything known of them, for tests."""

import numpy as np

from cmah.codes import BinaryCodes


def random_signs(n, bits, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (n, bits))


def full(n=5, bits=20):
    names = [f"item {i}" for i in range(n)]
    return BinaryCodes.from_signs(
        random_signs(n, bits),
        (8, 13, bits),
        ids=names,
        shape_ids=[f"s{i // 2}" for i in range(n)],
        categories=["chair", "table", "", "Möbel", "lamp"][:n],
        kinds=["render"] * n,
        splits=["val"] * n,
        modality="image",
        space="f00",
    )

"""Reports as a table for the terminal."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.evaluation import comparison, evaluate


def random_codes(n, bits=12, seed=0, **known):
    random = np.random.default_rng(seed)
    categories = random.integers(0, 3, n)
    base = np.random.default_rng(99).choice([-1, 1], (3, bits))
    signs = base[categories] * np.where(random.random((n, bits)) < 0.25, -1, 1)
    known = {"categories": categories.astype(str), "shape_ids": (np.arange(n) % 10).astype(str), **known}
    return BinaryCodes.from_signs(signs.astype(np.int8), **known)


def test_table():
    report = evaluate(random_codes(10, seed=3), random_codes(35, seed=4), k=(1, 10))
    head, _, row, *rest = comparison([("", report)]).splitlines()
    names = ["P@1", "P@10", "NDCG@1", "NDCG@10", "NN", "Acc@1", "Acc@5", "Acc@10"]
    assert head.split() == ["width", "mAP", "±", "(worst", "-", "best)", *names]
    assert row.split()[-8:] == [f"{report[name.lower()]:.3f}" for name in names]
    assert f"{report['map']:.3f}" in row
    for rule in ("P@K = relevant ones among", "NN = chance", "Acc@K = chance that an item of the same shape"):
        assert any(line.startswith(rule) for line in rest)
    assert not any(line.startswith("FT = ") for line in rest)
    head, _, row, *rest = comparison(
        [("", report)], ("anmrr", "ndcg@10_best", "map_instance", "median_rank")
    ).splitlines()
    assert head.endswith("ANMRR  NDCG@10 best  instance mAP@10  median rank")
    assert row.split()[-1] == f"{report['median_rank']:.1f}"
    assert sum(line.startswith(("ANMRR", "NDCG", "instance mAP", "median")) for line in rest) == 4
    with pytest.raises(CodesError, match="metric 'nonsense' is not known here; there are: map, p, r, ndcg"):
        comparison([("", report)], ("nonsense",))
    with pytest.raises(CodesError, match=r"map_class; if asked for: mi3dor, iou$"):
        comparison([("", report)], ("nonsense",))
    tiers = comparison([("", report)], ("tiers",)).splitlines()[0]
    assert tiers.split()[-7:] == ["NN", "FT", "ST", "F@20", "DCG", "ANMRR", "P(r<=2)"]
    ranking = comparison([("", report)], ("ranking",)).splitlines()[0]
    assert ranking.split()[6:] == ["P@1", "R@1", "NDCG@1", "P@10", "R@10", "NDCG@10", "class", "mAP"]
    both = comparison(
        [("there", report), ("back", evaluate(random_codes(4, seed=5), random_codes(35, seed=4)))]
    )
    assert "there: 10 queries, 35 items" in both
    assert "back: 4 queries, 35 items" in both

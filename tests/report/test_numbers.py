"""The tables of a report's numbers: each group of measures has its own, with definitions beneath."""

import numpy as np

from cmah.codes import BinaryCodes
from cmah.evaluation import evaluate
from cmah.evaluation.evaluations import Evaluation
from cmah.evaluation.measure_table import value_text
from cmah.evaluation.voxels import Voxels
from cmah.report.numbers import numbers_section


def evaluation(**settings):
    rng = np.random.default_rng(0)
    sides = [
        BinaryCodes.from_bits(
            rng.integers(0, 2, (12, 6)), categories=["a", "b", "c"] * 4, shape_ids=list("abcd") * 3
        )
        for _ in range(2)
    ]
    return Evaluation("image -> shape", *sides, evaluate(*sides, bootstrap=0, **settings))


def test_measures_that_were_asked_for_have_their_tables():
    voxels = Voxels.of({name: np.ones((2, 2, 2), bool) for name in "abcd"}.get, "as stored")
    done = evaluation(mi3dor=True, voxels=voxels)
    tables = {table.caption: table for table in numbers_section([done], ()).tables}
    mi3dor = tables["As MI3DOR's script counts"]
    names = ["NN", "FT", "ST", "F@20", "DCG", "ANMRR", "AUC"]
    assert list(mi3dor.head) == ["direction", "codes", *(f"MI3DOR {name}" for name in names)]
    assert mi3dor.rows[0][2] == value_text("mi3dor_nn", done.report["mi3dor_nn"])
    shape = tables["The very shape"]
    assert shape.rows[0][list(shape.head).index("IoU")] == "1.000"
    notes = numbers_section([done], ()).notes
    assert "voxels: as stored" in notes
    assert any(note.startswith("MI3DOR AUC = ") for note in notes)
    plain = [table.caption for table in numbers_section([evaluation()], ()).tables]
    assert "As MI3DOR's script counts" not in plain

"""docs/metrics.md says what `MEASURES` says."""

from pathlib import Path

from cmah.evaluation.measure_table import MEASURES
from cmah.evaluation.metrics_page import with_tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_tables_of_the_page_are_those_of_the_measures():
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_tables(text), "run python -m cmah.evaluation.metrics_page"
    for measure in MEASURES.values():
        assert f"| `{measure.name}{measure.depth}` |" in text

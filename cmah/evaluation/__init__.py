"""Retrieval metrics whose rules are named: `evaluate` gives a `Report` of the numbers under a `Protocol`."""

from cmah.evaluation.evaluating import evaluate
from cmah.evaluation.protocol import Protocol
from cmah.evaluation.report_numbers import Report
from cmah.evaluation.report_text import comparison

__all__ = ["Protocol", "Report", "comparison", "evaluate"]

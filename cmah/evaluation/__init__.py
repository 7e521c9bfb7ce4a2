"""Retrieval metrics whose rules are named: `evaluate` gives a `Report`."""

from cmah.evaluation.protocol import evaluate
from cmah.evaluation.report import Report
from cmah.evaluation.terminal import comparison

__all__ = ["Report", "comparison", "evaluate"]

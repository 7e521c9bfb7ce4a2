"""metrics.jsonl of a run folder: a line of JSON for each epoch."""

import json
from pathlib import Path
from typing import Any

from cmah.errors import RunError


def read_metrics(run: Path) -> list[dict[str, Any]]:
    r"""The records of metrics.jsonl, one an epoch; a last line cut off by a kill is left out.

    Raises:
        RunError: if another line is no record of an epoch.

    Examples:
        >>> _ = Path("metrics.jsonl").write_text('{"epoch": 1, "loss": 2.5}\n{"epoch": 2, "lo')
        >>> read_metrics(Path())
        [{'epoch': 1, 'loss': 2.5}]
    """
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.is_file() else []
    records = []
    for row, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not _is_record(record):
            if row == len(lines):
                break
            raise RunError(
                f"{path}: row {row}: expected the record of an epoch, with a number of epoch and loss"
            )
        records.append(record)
    return records


def _is_record(record: Any) -> bool:
    """Whether a value has what every record has."""
    if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
        return False
    validation = record.get("validation", {"score": 0.0})
    return (
        isinstance(record.get("loss"), int | float)
        and isinstance(validation, dict)
        and isinstance(validation.get("score"), int | float)
    )

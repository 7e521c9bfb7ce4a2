"""What was lost of meshes while files are encoded, kept beside the outputs so that who goes on is told it too."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cmah.reading import parse_json


class KeptRemarks:
    r"""Remarks on files by their position, each once, in memory and in a file.

    Args:
        folder: where `remarks.jsonl` is, [position, remark] on each line; None keeps them in memory only.

    Examples:
        >>> Path("parts").mkdir()
        >>> KeptRemarks(Path("parts")).add([(3, "texture not found (wood.png)")])
        >>> KeptRemarks(Path("parts")).of(3), KeptRemarks(Path("parts")).of(0)
        (['texture not found (wood.png)'], [])
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "remarks.jsonl"
        self._remarks: dict[int, dict[str, None]] = {}
        if self._path is not None and self._path.is_file():
            with suppress(OSError):
                for line in self._path.read_text(encoding="utf-8", errors="replace").split("\n"):
                    with suppress(ValueError, TypeError):  # a line that a killed process left
                        position, remark = parse_json(line)
                        self._remarks.setdefault(int(position), {})[str(remark)] = None

    def add(self, remarks: Iterable[tuple[int, str]]) -> None:
        """Take note of remarks, before the outputs of their files are kept.

        Args:
            remarks: position of a file, and what was lost of it.
        """
        new = [(position, remark) for position, remark in remarks if remark not in self.of(position)]
        for position, remark in new:
            self._remarks.setdefault(position, {})[remark] = None
        if new and self._path is not None:
            lines = "".join(f"\n{json.dumps(each)}" for each in new)
            with suppress(OSError):  # that outputs cannot be kept is told where they are written
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(lines)

    def of(self, position: int) -> list[str]:
        """The remarks on a file.

        Args:
            position: of the file.
        """
        return list(self._remarks.get(position, ()))

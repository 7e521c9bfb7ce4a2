"""A comparison as a folder: its page with where every number comes from, its figures and its JSON record."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from cmah.errors import RunError
from cmah.evaluation import comparing
from cmah.evaluation.comparing import Comparison
from cmah.files import json_text, sha256
from cmah.reading import read_json
from cmah.report import page
from cmah.report.example_searches import Pictures

RECORD = "report.json"


def refuse_to_replace(folder: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """See that a comparison may be written into a folder.

    Args:
        folder: the folder, which need not exist.
        inputs: files that are read.

    Raises:
        CmahError: if its index.html or report.json is one of `inputs` or is not cmah's, or packages are missing.

    Examples:
        A report that is to be written over one of its own inputs:

        >>> Path("old").mkdir()
        >>> _ = Path("old/report.json").write_text("{}")
        >>> refuse_to_replace("old", inputs=["old/report.json"])
        Traceback (most recent call last):
        cmah.errors.CmahError: old...report.json: is read here, expected another name to write
    """
    page.require_report_packages()
    page.refuse_to_replace(folder)
    comparing.refuse_to_replace(Path(folder) / RECORD, inputs)


def write_comparison(
    folder: str | Path,
    comparison: Comparison,
    *,
    before: Comparison | None = None,
    dataset: str | None = None,
    checksum: str = "",
    pictures: Pictures | None = None,
    run: str | Path | None = None,
    command: str = "",
) -> Path:
    """Write FOLDER/index.html with its figures, and FOLDER/report.json.

    Args:
        folder: created if missing.
        comparison: of one pair of files or of several methods.
        before: codes from before training, as `evaluate_before` gives them.
        dataset: name of the dataset, if there is one.
        checksum: SHA-256 of the tables of the dataset.
        pictures: from id and modality of an item to its picture; None = hits are shown in words.
        run: run folder whose settings the page shows.
        command: the command line that made the page, "" if none did.

    Returns:
        The path of the page.

    Raises:
        CmahError: if packages are missing, `run` is no run, or a file cannot be written.

    Examples:
        >>> from cmah.codes import BinaryCodes
        >>> from cmah.evaluation import Protocol
        >>> codes = BinaryCodes.from_bits([[0, 0], [1, 1]], shape_ids=["chair_0", "lamp_0"], modality="image")
        >>> codes.save("image.npz")
        >>> done = comparing.evaluate_files(
        ...     "image.npz", "image.npz", protocol=Protocol(relevance="instance", exclude_self=False)
        ... )
        >>> path = write_comparison("page", done)
        >>> sorted(each.name for each in path.parent.iterdir())
        ['figures', 'index.html', 'report.json']
    """
    provenance = [("command", command)] if command else []
    files = [file for pair in (*comparison.files, *(before.files if before else ())) for file in pair]
    provenance += [(file.path.name, f"{file.path}, SHA-256 {sha256(file.path)}") for file in files]
    spaces = dict.fromkeys(file.vectors.space for file in files if file.vectors.space)
    if spaces:
        provenance.append(("space", ", ".join(spaces)))
    if dataset is not None:
        provenance.append(("dataset", f"{dataset}, SHA-256 of its tables {checksum}"))
    settings = ""
    if run is not None:
        config = read_json(Path(run) / "config.json")
        if not isinstance(config, dict) or config.get("format") != "cmah-run":
            raise RunError(f"{run}: its config.json is not that of a run")
        provenance.append(("run", f"{run}, recipe {config.get('recipe')}, cmah {config.get('cmah')}"))
        settings = json.dumps(config, indent=1, ensure_ascii=False)
    return page.write_report(
        folder,
        comparison.evaluations,
        title=f"Retrieval on {dataset}" if dataset is not None else "Retrieval report",
        lead=[*_lead(comparison), *(before.warnings if before else ())],
        measured=comparison.measured(),
        before=before.evaluations if before else (),
        pictures=pictures,
        provenance=provenance,
        settings=("Settings of the run", settings),
        seed=comparison.protocol.seed,
        beside={RECORD: json_text(comparison.record())},
    )


def _lead(comparison: Comparison) -> Sequence[str]:
    """What was measured, in a sentence, and what warns against comparing it."""
    parts = [f"{len(file.vectors)} {file.vectors.modality or 'row'}s" for file in comparison.files[0]]
    names = list(dict.fromkeys(each.name for each in comparison.evaluations if each.name))
    if names:
        parts.append(f"methods {', '.join(names)}")
    text = f"{', '.join(parts)}; relevant: the same {comparison.protocol.relevance}."
    return [text, *comparison.warnings]

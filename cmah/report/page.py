"""The report of an evaluation: one HTML page that opens offline, and its figures as files fit for a paper."""

import importlib.resources
import importlib.util
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from cmah import __version__
from cmah.errors import CmahError
from cmah.evaluation.evaluations import Evaluation
from cmah.files import atomic_path, require_replaceable
from cmah.progress import progress
from cmah.report.curves import curves_section
from cmah.report.example_searches import Pictures, searches_section
from cmah.report.figures import PALETTE, drawn_files, inline
from cmah.report.hit_tiles import DIALOG, MARK, STYLE, colour_rules, rows_html
from cmah.report.numbers import numbers_section
from cmah.report.sections import (
    Section,
    bits_section,
    category_section,
    confusion_section,
    hits_of_longest,
    plane_section,
)

NEEDED = {"matplotlib": "matplotlib", "sklearn": "scikit-learn", "jinja2": "jinja2"}


def require_report_packages() -> None:
    """See that the packages that draw a page are installed.

    Raises:
        CmahError: naming what is missing and how to install it.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch.dict(NEEDED, {"missing_module": "missing-package"}):  # as if it were needed too
        ...     require_report_packages()
        Traceback (most recent call last):
        cmah.errors.CmahError: a report needs missing-package: pip install ".[report]"
    """
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise CmahError(f'a report needs {", ".join(missing)}: pip install ".[report]"')


def refuse_to_replace(folder: str | Path) -> None:
    """See that a page may be written into a folder.

    Raises:
        CmahError: if its index.html is no page of cmah, or it or its figures/ is no folder.

    Examples:
        >>> Path("site").mkdir()
        >>> _ = Path("site/index.html").write_text("<h1>mine</h1>")
        >>> refuse_to_replace("site")
        Traceback (most recent call last):
        cmah.errors.CmahError: site...index.html: exists and is not such a file as is written here; ...
    """
    for path in (Path(folder), Path(folder) / "figures"):
        if path.exists() and not path.is_dir():
            raise CmahError(f"{path}: is a file, expected a folder to write to")
    require_replaceable(Path(folder) / "figures" / "precision.svg", b"")
    require_replaceable(Path(folder) / "index.html", MARK)


def write_report(
    folder: str | Path,
    evaluations: Sequence[Evaluation],
    *,
    title: str = "Retrieval report",
    lead: Sequence[str] = (),
    measured: Sequence[str] = (),
    before: Sequence[Evaluation] = (),
    pictures: Pictures | None = None,
    provenance: Sequence[tuple[str, str]] = (),
    settings: tuple[str, str] = ("", ""),
    seed: int = 0,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write FOLDER/index.html, and FOLDER/figures with an SVG and a PNG of each figure, all of them or none.

    The same input gives the same page: it bears no date. Results of more than one `name` are compared: one table
    and one set of curves; those of one method get everything.

    Args:
        folder: created if missing.
        evaluations: one for each method, direction and code length.
        title: of the page.
        lead: lines of text under the title.
        measured: lines that say what is measured and what is left out, for the rules of the numbers.
        before: evaluations of the same directions from before training, for the numbers and the t-SNE.
        pictures: from id and modality of an item to its picture; None = hits are shown in words.
        provenance: (name, value) pairs that say how the page was made; versions are added.
        settings: heading and text of a listing under them, for example of a run's configuration.
        seed: random seed of the t-SNE and of the choice of random queries.
        beside: further files of the folder by name: their text.

    Returns:
        The path of the page.

    Raises:
        CmahError: if packages are missing, there is no evaluation, or a file cannot be written.

    Examples:
        Two methods, which get one set of curves:

        >>> from cmah.codes import BinaryCodes
        >>> from cmah.evaluation import evaluate
        >>> codes = BinaryCodes.from_bits([[0, 0], [1, 1]], shape_ids=["chair_0", "lamp_0"])
        >>> report = evaluate(codes, codes, relevance="instance", exclude_self=False)
        >>> done = [Evaluation("image -> shape", codes, codes, report, name) for name in ("CMAH", "ITQ")]
        >>> page = write_report("page", done, title="Two methods")
        >>> sorted(path.name for path in (page.parent / "figures").glob("*.svg"))
        ['precision-recall.svg', 'precision.svg', 'radius.svg']
    """
    require_report_packages()
    if not evaluations:
        raise CmahError("a report needs evaluations, got none")
    parts: list[Section | None] = [
        numbers_section(evaluations, before, measured),
        curves_section(evaluations),
        category_section(evaluations),
    ]
    if len({evaluation.name for evaluation in evaluations}) == 1:
        hits = hits_of_longest(evaluations)
        parts += [
            confusion_section(hits),
            plane_section(evaluations, before, seed),
            bits_section(evaluations),
            searches_section(hits, pictures, seed),
        ]
    versions = [("cmah", __version__), ("Python", platform.python_version())]
    versions += [(name, _version(name)) for name in ("numpy", "matplotlib", "scikit-learn")]
    details = [*provenance, ("seed", str(seed)), ("versions", ", ".join(" ".join(pair) for pair in versions))]
    parts.append(Section("made", "How it was made", details=details, listing=settings))
    shown = [part for part in parts if part is not None]
    files: dict[str, bytes] = {}
    for figure in progress([figure for part in shown for figure in part.figures], "drawing"):
        files |= {f"figures/{name}": content for name, content in drawn_files(figure).items()}
    for name, text in {**(beside or {}), "index.html": _render(title, lead, shown)}.items():
        files[name] = text.encode(
            "utf-8", "backslashreplace"
        )  # bytes of a name that are no text become escapes
    _write_together(Path(folder), files)
    return Path(folder) / "index.html"


def _write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, all of them or none; folders that were made for nothing are removed again."""
    made = [path for path in (folder / "figures", folder, *folder.parents) if not path.exists()]
    try:
        with ExitStack() as stack:
            for name, content in files.items():
                temporary = stack.enter_context(atomic_path(folder / name))
                try:
                    with open(temporary, "wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())  # a full disk is told before the first file is replaced
                except OSError as error:
                    raise CmahError(
                        f"{folder / name}: cannot be written ({error.strerror or error})"
                    ) from None
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


def _render(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    import jinja2

    template = importlib.resources.files("cmah.report").joinpath("page_template.html")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )

    text: str = environment.from_string(template.read_text(encoding="utf-8")).render(
        title=title,
        lead=lead,
        sections=sections,
        drawings={figure.name: inline(figure) for part in sections for figure in part.figures},
        rows=rows_html,
        style=STYLE + colour_rules(PALETTE),
        dialog=DIALOG,
    )
    return text


def _version(name: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(name)

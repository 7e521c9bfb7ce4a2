"""The report of an evaluation: one HTML page that opens offline, and its figures as files fit for a paper."""

import importlib.resources
import importlib.util
import platform
from collections.abc import Sequence
from pathlib import Path

from cmah import __version__
from cmah.errors import CmahError
from cmah.evaluation.findings import Result
from cmah.files import atomic_path
from cmah.progress import progress
from cmah.report import sections as make
from cmah.report.curves import curves
from cmah.report.example_searches import Pictures, searches
from cmah.report.figures import PALETTE, inline, save
from cmah.report.hit_tiles import DIALOG, STYLE, colour_rules, rows_html
from cmah.report.numbers import numbers
from cmah.report.sections import Section

NEEDED = {"matplotlib": "matplotlib", "sklearn": "scikit-learn", "jinja2": "jinja2"}


def require_report_packages() -> None:
    """See that what a page is made with is installed.

    Raises:
        CmahError: naming what is missing and how to install it.
    """
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise CmahError(f'a report needs {", ".join(missing)}: pip install ".[report]"')


def write_report(
    folder: str | Path,
    results: Sequence[Result],
    *,
    title: str = "Retrieval report",
    lead: Sequence[str] = (),
    before: Sequence[Result] = (),
    pictures: Pictures | None = None,
    made: Sequence[tuple[str, str]] = (),
    settings: tuple[str, str] = ("", ""),
    seed: int = 0,
) -> Path:
    """Write FOLDER/index.html, and FOLDER/figures with an SVG and a PNG of each figure.

    The same input gives the same page: it bears no date. Results of more than one `name` are compared: one table
    and one set of curves; those of one method get everything.

    Args:
        folder: made if missing.
        results: one for each method, direction and code length.
        title: of the page.
        lead: lines of text under it.
        before: results of the same directions before training, for the numbers and the t-SNE.
        pictures: of the rows, by id and modality; None = hits are shown in words.
        made: (name, value) pairs that say how the page was made; versions are added.
        settings: heading and text of a listing under it, for example of a run's configuration.
        seed: of the t-SNE and the random queries.

    Returns:
        The path of the page.

    Raises:
        CmahError: if packages are missing, there is no result, or a file cannot be written.
    """
    require_report_packages()
    if not results:
        raise CmahError("a report needs results, got none")
    parts: list[Section | None] = [numbers(results, before), curves(results), make.classes(results)]
    if len({result.name for result in results}) == 1:
        found = make.hits(results)
        parts += [
            make.confusions(found),
            make.planes(results, before, seed),
            make.bits(results),
            searches(found, pictures, seed),
        ]
    versions = [("cmah", __version__), ("Python", platform.python_version())]
    versions += [(name, _version(name)) for name in ("numpy", "matplotlib", "scikit-learn")]
    facts = [*made, ("seed", str(seed)), ("versions", ", ".join(" ".join(pair) for pair in versions))]
    parts.append(Section("made", "How it was made", facts=facts, listing=settings))
    shown = [part for part in parts if part is not None]
    for figure in progress([figure for part in shown for figure in part.figures], "drawing"):
        save(figure, Path(folder) / "figures")
    page = Path(folder) / "index.html"
    text = _render(title, lead, shown)
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


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

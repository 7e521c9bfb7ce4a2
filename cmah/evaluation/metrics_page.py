"""The tables of docs/metrics.md, made from `MEASURES`: python -m cmah.evaluation.metrics_page writes them anew."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cmah.evaluation.measure_table import MEASURES, Measure

GROUPS = {"category level": ("ranking", "tiers"), "instance level": ("shape",), "MI3DOR": ("mi3dor",)}


def with_tables(page: str) -> str:
    r"""The text of the page with each table between its marks made from `MEASURES`.

    A table stands between the lines `<!-- table: category level -->` and `<!-- end of table -->`.

    Raises:
        KeyError: if a mark names a table that there is not.

    Examples:
        >>> page = "<!-- table: instance level -->\n(old rows)\n<!-- end of table -->"
        >>> print(with_tables(page))
        <!-- table: instance level -->
        <BLANKLINE>
        | name | heading | better | definition |
        |---|---|---|---|
        | `acc@K` | Acc@K | higher | chance that an item of the same shape is among the first K |
        ...
        <!-- end of table -->
    """

    def replace(found: re.Match[str]) -> str:
        groups = GROUPS[found["name"]]
        return f"{found['begin']}{table([m for m in MEASURES.values() if m.group in groups])}{found['end']}"

    return re.sub(
        r"(?P<begin><!-- table: (?P<name>[^>]+) -->\n).*?(?P<end><!-- end of table -->)",
        replace,
        page,
        flags=re.DOTALL,
    )


def table(measures: Sequence[Measure]) -> str:
    """Measures as a Markdown table.

    Examples:
        >>> print(table([MEASURES["nn"], MEASURES["r"]]).strip())
        | name | heading | better | definition |
        |---|---|---|---|
        | `nn` | NN | higher | chance that the first item is relevant |
        | `r@K` | R@K | higher | relevant ones among the first K / all relevant |
    """
    rows = ["| name | heading | better | definition |"]
    rows.append("|---|---|---|---|")
    for measure in measures:
        text = f"{measure.definition}. {measure.details}" if measure.details else measure.definition
        name = f"`{measure.name}{measure.depth}`"
        better = "lower" if measure.lower_is_better else "higher"
        rows.append(f"| {name} | {measure.heading}{measure.depth} | {better} | {text} |")
    return "\n".join(["", *rows, "", ""])


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/metrics.md")
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")

"""What the search of the site shows first: guides before the reference, the pages for developers last."""

from typing import Any

WEIGHTS = {
    "quickstart": 4,
    "guides/": 3,
    "commands": 2,
    "metrics": 2,
    "architecture": 0.3,
    "contributing": 0.3,
    "api/": 0.7,
}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Set the weight of a page by where it lies."""
    for start, weight in WEIGHTS.items():
        if page.file.src_path.startswith(start):
            page.meta.setdefault("search", {"boost": weight})
    return markdown

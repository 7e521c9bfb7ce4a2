"""The site as it is built: every link leads somewhere, and nothing is loaded from elsewhere."""

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from pages import ROOT

pytestmark = pytest.mark.slow


class Elements(HTMLParser):
    """The targets of links, the files that a page loads, and the anchors that it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors.add(values.get("id", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") != "canonical" and "href" in values:
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Elements]:
    pytest.importorskip("mkdocs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {page: Elements(page) for page in out.rglob("*.html")}


def test_links_lead_somewhere(site: dict[Path, Elements]) -> None:
    dead = []
    for page, elements in site.items():
        if page.name == "404.html":  # its links begin at the root of the server
            continue
        for link in {*elements.links, *elements.loaded}:
            parts = urlparse(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target /= "index.html"
            anchored = (
                not parts.fragment or target not in site or unquote(parts.fragment) in site[target].anchors
            )
            if not target.exists() or not anchored:
                dead.append(f"{page.name}: {link}")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Elements]) -> None:
    loaded = {link for elements in site.values() for link in elements.loaded}
    assert {link for link in loaded if urlparse(link).netloc} == set()


def test_examples_can_be_pasted(site: dict[Path, Elements]) -> None:
    (page,) = (page for page in site if page.match("api/losses.html"))
    blocks = re.findall(r"<code>(.*?)</code>", page.read_text(encoding="utf-8"), re.DOTALL)
    texts = [html.unescape(re.sub(r"<[^>]+>", "", block)) for block in blocks]
    examples = [text for text in texts if text.startswith(">>> ")]
    assert len(examples) > 20
    assert all(example.startswith(">>> from cmah.losses.") for example in examples)

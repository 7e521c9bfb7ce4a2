"""What `cmah demo` shows at its end: its mAP as lines of text, its searches as lines and as a page with pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmah.data.dataset import Dataset
from cmah.data.pictures import DatasetPictures, picture_of_file
from cmah.report.hit_tiles import Tile, TileRow
from cmah.report.hits_page import write_sheet
from cmah.runs.metrics_log import read_metrics

DIRECTIONS = ("image -> shape", "shape -> image")
Maps = dict[str, dict[str, dict[str, float]]]  # by "before" or "after", direction, and code length


def map_lines(maps: Maps) -> list[str]:
    """The mAP before and after training as lines of text.

    Examples:
        >>> maps = {when: {"image -> shape": {"64": value}, "shape -> image": {"64": value}}
        ...         for when, value in (("before", 0.25), ("after", 0.875))}
        >>> map_lines(maps)[1]
        'image -> shape:  64 bits 0.250 -> 0.875'
    """
    lines = ["mAP of held-out shapes before -> after training:"]
    for direction in DIRECTIONS:
        parts = [
            f"{bits} bits {maps['before'][direction][bits]:.3f} -> {value:.3f}"
            for bits, value in maps["after"][direction].items()
        ]
        lines.append(f"{direction}:  {',  '.join(parts)}")
    return lines


def write_page(
    path: Path, searches: Sequence[dict[str, Any]], maps: Maps, dataset: Dataset, run: Path
) -> list[str]:
    """Write the page of the searches with their pictures.

    Args:
        path: the .html file.
        searches: each with "file", "id" (of the query), "among" ("shapes" or "images"), "hits" and "distances".
        maps: mAP before and after training.
        dataset: of the queries and the items.
        run: folder of the run that encoded them.

    Returns:
        The same searches as lines of text: the query's category, then each hit's with its distance.

    Examples:
        >>> from cmah.reading import read_json
        >>> summary = read_json("demo/summary.json")
        >>> dataset = Dataset.read("demo/dataset")
        >>> first, *_ = write_page(
        ...     Path("page.html"), summary["searches"][:1], summary["map"], dataset, Path("demo/run")
        ... )
        >>> print(first)
        picture airplane -> ...
    """
    pictures = DatasetPictures(dataset)
    # a shape is shown from another side than the picture that looks for it
    portraits = {name: views[1 % len(views)].image_id for name, views in dataset.views().items()}
    rows, lines = [], []
    for search in searches:
        category = pictures.category(search["id"])
        by_mesh = search["among"] == "images"
        picture = picture_of_file(search["file"]) if by_mesh else pictures.picture(search["id"])
        query = "mesh" if by_mesh else "picture"
        hits = []
        for name, distance in zip(search["hits"], search["distances"], strict=True):
            of_hit, portrait = pictures.category(name), pictures.picture(portraits.get(name, name))
            hits.append(Tile(name, portrait, of_hit, f"{distance} bits", of_hit == category))
        rows.append(TileRow(Tile(search["id"], picture, category, f"query: a {query}"), hits))
        nearest = "  ".join(
            f"{hit.category} {distance}" for hit, distance in zip(hits, search["distances"], strict=True)
        )
        lines.append(f"{query:7} {category:8} -> {nearest}")
    seconds = sum(record["seconds"] for record in read_metrics(run)[-1:])
    notes = [
        f"CMAH, trained for {seconds:.0f} s without labels. The shapes and pictures below took no part in that.",
        "Pictures look for shapes, then meshes for pictures. Under each hit its Hamming distance, of 64 bits.",
        *(line.replace("->", "→") for line in map_lines(maps)),
    ]
    write_sheet(path, "Pictures find shapes, shapes find pictures", rows, notes)
    return lines

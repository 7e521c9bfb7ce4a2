"""Searching an index by files or codes, with categories and pictures of a dataset, and an HTML sheet of the hits."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cmah.checks import check_up
from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.file_hashing import read_embeddings
from cmah.codes.real_codes import read_real, real_file_of, real_part
from cmah.errors import CmahError
from cmah.file_names import readable_text
from cmah.runs.item_search import ItemSearch
from cmah.search.hit_records import QueryRecord
from cmah.search.item_vectors import vectors_of_queries
from cmah.search.reranking import Reranking
from cmah.search.row_vectors import read_views, views_file_of
from cmah.search.together import By
from cmah.skipped_files import SkippedFiles

if TYPE_CHECKING:
    from cmah.runs.file_encoding import Vectors
    from cmah.runs.search_parts import SearchParts


def search_files(
    index: str | Path,
    run: str | Path,
    files: Sequence[str | Path],
    k: int = 10,
    *,
    radius: int | None = None,
    together: By | None = None,
    per_shape: bool = False,
    threads: int | None = None,
    up: str = "y",
    device: str = "cpu",
    verify: bool = False,
    database: str | Path | None = None,
    dataset: str | Path | None = None,
    sheet: str | Path | None = None,
    reranking: Reranking | None = None,
    workers: int | None = None,
    report: Callable[[str], None] | None = None,
    write: Callable[[QueryRecord], None] | None = None,
    parts: "SearchParts | None" = None,
) -> tuple[list[QueryRecord], SkippedFiles]:
    """Encode photos, meshes and point clouds with a run and search an index for them.

    Args:
        index: the index file.
        run: folder that `train` wrote.
        files: pictures, meshes, or point clouds (`.npy`, `.ply`), any number of them; a folder stands for all pictures
            and meshes in it and below it.
        k: hits per query.
        radius: all hits at most so many bits away, in place of the k nearest.
        together: take all files as photos of one object: rank items by their "mean" or "least" distance from them.
        per_shape: give each shape once, by its nearest item; which item shows which shape is read from `database`, else
            from the index.
        threads: how many to search with; None for one per core.
        up: "y" or "z", the up axis of meshes and point clouds.
        device: "auto", "cpu", "cuda" or "cuda:N", to encode on.
        verify: read weights files anew instead of trusting the digests that the cache remembers.
        database: code file with ids and categories, from which the hits' categories are taken; with `per_shape` the
            file that the index was made from, with shape ids.
        dataset: dataset folder, from which categories, paths and pictures are taken; None: the one that `database`
            was exported from, else the one that the run was trained on. If that one is gone, or is not that of the
            items, they stay unknown, and `report` is told.
        sheet: HTML page of queries and hits to write; needs a dataset.
        reranking: how the nearest items are put in order of a score of real vectors, of which the first `k` are given;
            those of the queries, or where it has none of the items the real-valued codes of the queries, and for
            "attention" the weight, are the run's.
        workers: processes that read the files, see `Encoder.encode_files`.
        report: called with a line for each file that is skipped, each folder, what meshes lost, and other remarks.
        write: called with the record of each query, one after the other; none is kept then, which bounds the memory,
            and the list that is returned is empty.
        parts: where what is encoded of many files is kept until the search has succeeded, so that the same search,
            called again after it was stopped, goes on; None keeps nothing.

    Returns:
        The hits of each file that could be read, and (path, reason) of the others, with what was lost of meshes as
        their `remarks`. The queries are named by their paths (see `cmah.file_names.readable_name`).

    Raises:
        CmahError: if no file could be read, an input cannot be used, or there are more hits than there is memory for.

    Examples:
        A shape of the index finds itself by its file of points.

        >>> from cmah.data.dataset import Dataset
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> points = dataset.file(dataset.shapes[0].points)
        >>> records, skipped = search_files("demo/shapes.cmah", "demo/run", [points], k=3)
        >>> [hit["rank"] for hit in records[0]["hits"]]
        [1, 2, 3]
        >>> records[0]["hits"][0]["distance"]
        0
    """
    check_up(up)
    remark = report or (lambda line: None)
    search = ItemSearch(
        index,
        database,
        dataset,
        sheet,
        radius,
        together,
        per_shape,
        reranking,
        k,
        run=Path(run),
        report=remark,
    )
    from cmah.runs.query_files import query_files

    queries_of, refused, lines = query_files(files)
    for line in lines:
        remark(line)
    from cmah.runs.encoder import Encoder

    encoder = Encoder.load(run, device=device, verify=verify)
    if reranking is not None and reranking.by == "attention" and reranking.weight is None:
        search.reranking = replace(reranking, weight=encoder.attention_weight())
    paths, names = [file.path for file in queries_of], [file.name for file in queries_of]
    from cmah.preparing.mesh_remarks import lines_of_remarks
    from cmah.runs.beside_meshes import beside_meshes
    from cmah.runs.file_batches import FEW

    # vectors of views have a space of their own where they are not the embeddings
    own = reranking is not None and reranking.vectors is not None and reranking.vectors.space
    of_items: Vectors = "views" if own and own == encoder.view_space else "embeddings"
    vectors: list[Vectors] = []
    if reranking is not None:
        vectors += ["real"] if reranking.takes_real_codes else []
        vectors += [of_items] if reranking.vectors is not None else []
    more = ["views"] if "views" in vectors else []
    keeping = (
        parts.of([*encoder.key, up, dict(encoder.prepared), *more], [*paths, *beside_meshes(queries_of)])
        if parts is not None and len(paths) >= FEW
        else nullcontext()
    )
    with keeping as keep:
        queries, tables, skipped = encoder.encode_queries(
            queries_of,
            names,
            up,
            workers=workers,
            label="queries",
            refused=refused,
            vectors=vectors,
            keep=keep,
        )
        for _, reason in skipped:
            remark("skipped " + readable_text(reason).replace("\n", "\\n"))
        given = len(queries_of) + len(refused)
        if not len(queries):
            raise CmahError(f"none of the {given} files could be read")
        if skipped:
            remark(f"{len(skipped):,} of {given:,} files were skipped")
        left_out = {name for name, _ in skipped}
        meshes = [file for file in queries_of if file.kind == "mesh" and file.name not in left_out]
        for line in lines_of_remarks(skipped.remarks, len(meshes), "--json lists each"):
            remark(readable_text(line))
        real = tables.get("real")
        if reranking is not None and reranking.vectors is None:
            return search.go(queries, real, k, threads, up, write), skipped
        return search.go(queries, tables.get(of_items), k, threads, up, write, real), skipped


def search_codes(
    index: str | Path,
    codes: str | Path,
    k: int = 10,
    *,
    radius: int | None = None,
    together: By | None = None,
    per_shape: bool = False,
    threads: int | None = None,
    up: str = "y",
    database: str | Path | None = None,
    dataset: str | Path | None = None,
    sheet: str | Path | None = None,
    reranking: Reranking | None = None,
    rerank_queries: str | Path | None = None,
    report: Callable[[str], None] | None = None,
    write: Callable[[QueryRecord], None] | None = None,
) -> list[QueryRecord]:
    """Search an index for the codes of a code file; loads no torch. Arguments and errors as in `search_files`.

    Args:
        index: the index file.
        codes: code file of the queries.
        k: hits per query.
        radius: all hits at most so many bits away, in place of the k nearest.
        together: take all rows as photos of one object: rank items by their "mean" or "least" distance from them.
        per_shape: give each shape once, by its nearest item; which item shows which shape is read from `database`, else
            from the index.
        threads: how many to search with; None for one per core.
        up: "y" or "z", the up axis of queries that are named like a mesh or point cloud, for their pictures.
        database: code file with ids and categories, from which the hits' categories are taken; with `per_shape` the
            file that the index was made from, with shape ids.
        dataset: dataset folder, from which categories, paths and pictures are taken; None: the one that `database`,
            else `codes`, was exported from, where the file says so.
        sheet: HTML page of queries and hits to write; needs a dataset.
        reranking: how the nearest items are put in order of a score of real vectors, of which the first `k` are given.
        rerank_queries: embedding file of the queries, which `reranking` needs; rows are found by their ids, or where
            one of the files has none taken in order. Where `reranking` has no vectors of the items, a file of their
            real-valued codes; by default the one that `cmah export --real` writes beside `codes`. By "views"
            and "real+views" the file that `cmah export --views` writes there is the default, and the real-valued codes
            of "real+views" are always read from there.
        report: called with each remark.
        write: called with the record of each query, see `search_files`.

    Examples:
        Every shape finds itself, or one of the same code.

        >>> records = search_codes("demo/shapes.cmah", "demo/codes/shape.npz", k=1)
        >>> {record["hits"][0]["distance"] for record in records}
        {0}
    """
    check_up(up)
    queries = BinaryCodes.load(codes)
    embeddings: Embeddings | None = None
    real: Embeddings | None = None
    search = ItemSearch(
        index, database, dataset, sheet, radius, together, per_shape, reranking, k,
        codes=(Path(codes), queries.dataset), report=report or (lambda line: None),
    )  # fmt: skip
    if reranking is None and rerank_queries is not None:
        raise CmahError(f"{rerank_queries}: vectors of queries are for re-ranking, which was not asked for")
    if reranking is not None and reranking.takes_real_codes:
        file = (
            real_file_of(codes) if rerank_queries is None or reranking.vectors is not None else rerank_queries
        )
        real = real_part(vectors_of_queries(queries, read_real(file, codes), file), queries, file)
    if reranking is not None and reranking.vectors is None:
        embeddings, real = real, None
    elif rerank_queries is not None:
        embeddings = vectors_of_queries(queries, read_embeddings(rerank_queries), rerank_queries)
    elif reranking is not None and reranking.by in ("views", "real+views"):
        views = views_file_of(codes)
        embeddings = vectors_of_queries(queries, read_views(views, codes), views)
    return search.go(queries, embeddings, k, threads, up, write, real)

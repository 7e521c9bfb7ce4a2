"""What the first codes of each query are ranked anew by: real-valued codes, vectors of views, or both."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.real_codes import real_part, sign_scores
from cmah.errors import CodesError
from cmah.evaluation.relevance import Vectors
from cmah.search.row_vectors import RowVectors
from cmah.search.view_scores import summed_scores

RerankedBy = Literal["real", "views", "real+views"]
SCORES = {
    "real": "the cosine of its real-valued code with their codes",
    "views": "the greatest cosine of its views with theirs",
    "real+views": (
        "the cosine of its real-valued code with their codes and the greatest cosine of its views with theirs, each "
        "standardised over them, in sum"
    ),
}
Views = tuple[RowVectors, RowVectors]  # of the queries and of the items


@dataclass(frozen=True, eq=False)
class Reranked:
    """How many of the first codes are ranked anew, and by what; by both, the sum of the two scores (`summed_scores`).

    Attributes:
        first: how many.
        real: the real-valued codes of the queries, or None.
        views: the vectors of the queries and of the items, of which the greatest cosine counts, or None.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 0], [0, 1], [1, 1]])
        >>> reranked = Reranked(3, real=Embeddings([[-0.1, 0.8]]))
        >>> reranked.scores(0, np.array([0, 1, 2]), codes.packed).round(2).tolist()
        [-0.61, 0.79, 0.61]
    """

    first: int
    real: Embeddings | None = None
    views: Views | None = None

    @classmethod
    def of(
        cls,
        query: Vectors,
        database: Vectors,
        first: int | None,
        by: RerankedBy,
        real: Embeddings | None,
        views: Views | None,
    ) -> "Reranked | None":
        """What the rules ask for; None where nothing is ranked anew.

        Args:
            query: the queries.
            database: the items.
            first: how many codes are ranked anew, or None.
            by: by what.
            real: the real-valued codes of the queries.
            views: the vectors of the queries and of the items, row by row.

        Raises:
            CodesError: if something is missing, or given and not asked for, or does not fit the rows.

        Examples:
            >>> codes = BinaryCodes.from_bits([[0, 1]])
            >>> Reranked.of(codes, codes, 5, "real", None, None)
            Traceback (most recent call last):
            cmah.errors.CodesError: rerank is 5: re-ranking needs the real-valued codes of the queries (real)
        """
        if first is None:
            for name, given in (("real-valued codes are", real), ("vectors of views are", views)):
                if given is not None:
                    raise CodesError(f"{name} for re-ranking, which was not asked for (rerank)")
            return None
        if not isinstance(query, BinaryCodes):
            raise CodesError(f"rerank is {first}, expected None for embeddings: only codes are ranked anew")
        if by != "views" and real is None:
            raise CodesError(
                f"rerank is {first}: re-ranking needs the real-valued codes of the queries (real)"
            )
        if by != "real" and views is None:
            raise CodesError(
                f"rerank is {first}: re-ranking by {by} needs vectors of the queries and the items (views)"
            )
        if by == "views" and real is not None:
            raise CodesError(
                "real-valued codes are for re-ranking by real or real+views, expected none by views"
            )
        if by == "real" and views is not None:
            raise CodesError(
                "vectors of views are for re-ranking by views or real+views, expected none by real"
            )
        if real is not None and not isinstance(real, Embeddings):
            raise CodesError(
                f"real is a {type(real).__name__}, expected Embeddings, as cmah export --real writes"
            )
        if views is not None:
            _check_views(views, len(query), len(database))
        return cls(min(first, len(database)), None if real is None else real_part(real, query), views)

    def scores(self, row: int, chosen: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """Scores of a query with some items, float64 [m], the greatest of the best.

        Args:
            row: number of the query.
            chosen: int64 [m], positions of the items.
            packed: the codes of all items, uint8 [n, bytes].
        """
        parts = []
        if self.real is not None:
            parts.append(sign_scores(self.real.embeddings[[row]], packed[chosen][None]))
        if self.views is not None and len(chosen):
            parts.append(self.views[0].scores(row, self.views[1], chosen)[None])
        return (
            np.asarray(summed_scores(*parts)[0] if len(parts) > 1 else parts[0][0]) if parts else np.zeros(0)
        )


def _check_views(views: Views, queries: int, items: int) -> None:
    """Refuse vectors that are not those of the rows, or that cannot be compared."""
    if not isinstance(views, tuple) or len(views) != 2 or not all(isinstance(v, RowVectors) for v in views):
        raise CodesError("views are no pair of RowVectors, expected (of the queries, of the items)")
    for what, rows, count in (("queries", views[0], queries), ("items", views[1], items)):
        if len(rows) != count:
            raise CodesError(f"views: vectors of {len(rows)} {what}, expected {count}, one row for each")
    views[0].check_comparable(views[1])

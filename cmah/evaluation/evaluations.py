"""`Evaluation`: a report with what it was measured on, and the orders in which several are shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation.relevance import Vectors
from cmah.evaluation.report_numbers import Report
from cmah.evaluation.reranked import Reranked, Views


@dataclass(frozen=True)
class Evaluation:
    """A report with what it was measured on.

    Attributes:
        direction: for example "image -> shape".
        query: the queries.
        database: the items that were ranked.
        report: the numbers.
        name: of the method or run, "" where there is only one.
        real: the real-valued codes of the queries, where the first items are ranked anew by them.
        views: the vectors of the queries and of the items, where the first are ranked anew by these.
        map_of_codes: mAP of the same codes without that; None where nothing is ranked anew.

    Examples:
        >>> from cmah.evaluation import evaluate
        >>> images = BinaryCodes.from_bits([[0, 0, 1, 1], [1, 1, 1, 1]], categories=["chair", "lamp"])
        >>> shapes = BinaryCodes.from_bits([[0, 0, 1, 0], [1, 1, 0, 1]], categories=["chair", "lamp"])
        >>> result = Evaluation("image -> shape", images, shapes, evaluate(images, shapes), "CMAH")
        >>> result.label, result.arrow, result.width, result.report["map"]
        ('CMAH: image -> shape', 'image → shape', '4 bits', 1.0)
    """

    direction: str
    query: Vectors
    database: Vectors
    report: Report
    name: str = ""
    real: Embeddings | None = None
    map_of_codes: float | None = None
    views: Views | None = None

    @property
    def label(self) -> str:
        """Name and direction, as in the terminal's tables."""
        return f"{self.name}: {self.direction}" if self.name else self.direction

    @property
    def arrow(self) -> str:
        """The direction as it is written on a page."""
        return self.direction.replace("->", "→")

    @property
    def reranked(self) -> Reranked | None:
        """How many of the first items are ranked anew, and by what; None where none are."""
        rules = self.report.rules
        return Reranked.of(self.query, self.database, rules.rerank, rules.rerank_by, self.real, self.views)

    @property
    def width(self) -> str:
        """Length of a code or embedding with its unit, as "64 bits"."""
        return self.report.rules.width_text


def by_direction(evaluations: Sequence[Evaluation]) -> list[tuple[str, list[Evaluation]]]:
    """Evaluations by direction as it is written on a page, in order of first appearance.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> result = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz", bits=[16, 64], both=True)
        >>> [(name, [each.width for each in group]) for name, group in by_direction(result.evaluations)]
        [('image → shape', ['16 bits', '64 bits']), ('shape → image', ['16 bits', '64 bits'])]
    """
    names = list(dict.fromkeys(each.arrow for each in evaluations))
    return [(name, [each for each in evaluations if each.arrow == name]) for name in names]


def longest(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """For each method and direction the evaluation of its longest codes, or of embeddings if there are no codes.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> result = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz", bits=[16, 64], both=True)
        >>> [(each.direction, each.width) for each in longest(result.evaluations)]
        [('image -> shape', '64 bits'), ('shape -> image', '64 bits')]
    """
    best: dict[tuple[str, str], Evaluation] = {}
    for each in evaluations:
        key = each.name, each.direction
        if key not in best or _length(each) > _length(best[key]):
            best[key] = each
    return list(best.values())


def _length(evaluation: Evaluation) -> tuple[bool, int]:
    return isinstance(evaluation.query, BinaryCodes), evaluation.report.rules.width


def costs_of_hashing(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, float]]:
    """What hashing costs: embedding mAP - code mAP.

    Returns:
        Each evaluation of codes that has one of embeddings of the same method and direction beside it, with the cost.

    Examples:
        Both codes are equal, so the relevant one of two items is as often second as first: mAP is 3 / 4.

        >>> from cmah.codes import Embeddings
        >>> from cmah.evaluation import evaluate
        >>> floats = Embeddings([[1.0, 0.2], [0.2, 1.0]], categories=["chair", "lamp"])
        >>> codes = BinaryCodes.from_bits(floats.embeddings > 0, categories=floats.categories)
        >>> pairs = [(floats, floats[::-1]), (codes, codes[::-1])]
        >>> both = [Evaluation("image -> shape", *pair, evaluate(*pair)) for pair in pairs]
        >>> [(each.width, cost) for each, cost in costs_of_hashing(both)]
        [('2 bits', 0.25)]
    """
    unhashed = {
        (each.name, each.direction): each.report["map"]
        for each in evaluations
        if not isinstance(each.query, BinaryCodes)
    }
    return [
        (each, unhashed[key] - each.report["map"])
        for each in evaluations
        if isinstance(each.query, BinaryCodes) and (key := (each.name, each.direction)) in unhashed
    ]


def gains_of_reranking(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, float]]:
    """What re-ranking gains: mAP with it - mAP of the codes alone.

    Returns:
        Each evaluation whose first items are ranked anew, with the gain.

    Examples:
        Both items are at distance 1; the query hardly knows its second bit.

        >>> from cmah.codes import Embeddings
        >>> from cmah.evaluation import evaluate
        >>> real = Embeddings([[0.9, 0.1]], categories=["chair"])
        >>> pair = (
        ...     BinaryCodes.from_bits([[1, 1]], categories=["chair"]),
        ...     BinaryCodes.from_bits([[0, 1], [1, 0]], categories=["lamp", "chair"]),
        ... )
        >>> report = evaluate(*pair, real=real, rerank=2)
        >>> done = Evaluation("image -> shape", *pair, report, real=real, map_of_codes=evaluate(*pair)["map"])
        >>> [(each.width, gain) for each, gain in gains_of_reranking([done])]
        [('2 bits', 0.25)]
    """
    return [
        (each, each.report["map"] - each.map_of_codes)
        for each in evaluations
        if each.map_of_codes is not None
    ]

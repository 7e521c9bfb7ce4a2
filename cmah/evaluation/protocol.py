"""The rules of an evaluation: `Protocol` goes in, `Rules`, the same with what was counted, come out."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict

import numpy as np

from cmah.checks import as_int, as_ints, shown
from cmah.errors import CodesError
from cmah.evaluation.measures import DENOMINATORS
from cmah.evaluation.reranked import SCORES, RerankedBy

Relevance = Literal["category", "instance"]
Denominator = Literal["relevant", "min(relevant,k)", "hits"]
Ties = Literal["expected", "position"]
Candidates = Literal["all", "category"]
ALLOWED = {
    "relevance": ("category", "instance"),
    "denominator": DENOMINATORS,
    "ties": ("expected", "position"),
    "candidates": ("all", "category"),
    "rerank_by": tuple(SCORES),
}
MOST_DRAWS = 1 << 31  # of the bootstrap
# the keys of "rules" in JSON, in order
RECORDED = (
    "queries", "items", "width", "ranking", "candidates", "relevance", "ties", "map_depth", "denominator", "left_out",
    "without_instance", "without_cloud", "without_voxels", "voxels", "self_left_out", "bootstrap", "clusters", "seed",
    "rerank", "rerank_by",
)  # fmt: skip


# of these, those that are recorded only where they are not what they were before they came
LATER = {"candidates": "all", "without_voxels": None, "voxels": "", "rerank": None, "rerank_by": "real"}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How `evaluate` measures; numbers are comparable only under the same protocol.

    Attributes:
        relevance: what makes an item relevant for mAP, P@K and the like: the same category, or the same shape.
        k: depths of P@K, R@K and NDCG@K, 1 or more each; one number is taken as one depth.
        accuracy_at: depths of the instance accuracy Acc@K, 1 or more each.
        map_depth: ranks that count for mAP; None = the full ranking.
        denominator: what AP divides by: all relevant items ("relevant"); those, or `map_depth` if there are more
            ("min(relevant,k)"); or the relevant items within `map_depth` ("hits", DeepHash's). They differ only where
            `map_depth` is given.
        ties: "expected" = mean over all orders of items at the same distance, in closed form; "position" = by
            position in the database, as a stable sort does.
        exclude_self: leave the query itself (the same id) out of the database; None = yes within one modality,
            no across modalities, where the paired item stays and counts as relevant.
        candidates: the items among which a query is ranked: all, or those of its own category (the category is
            given, as in tests of transfer to other shapes), which only relevance="instance" can measure.
        rerank: how many of the first codes, by (distance, position), are ranked anew, 1 or more; those behind them stay
            in order of distance. None = none.
        rerank_by: by what: the real-valued codes of the queries ("real", `cmah.codes.real_codes`), the greatest cosine
            of "views" of both, or "real+views", both standardised over these items and summed.
        mi3dor: also measure as MI3DOR's released script does, which sorts all items: "mi3dor_nn" and so on.
        bootstrap: draws for the 95 % interval of mAP, over queries, by shape where instances are known; 0 = none.
        seed: random seed of the bootstrap, 0 or more.

    Raises:
        CodesError: for a value that is not allowed.

    Examples:
        >>> protocol = Protocol(k=[1, 10], map_depth=1000)
        >>> protocol.k, protocol.map_depth, protocol.denominator, protocol.ties
        ((1, 10), 1000, 'relevant', 'expected')
        >>> Protocol(ties="random")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: ties 'random' is unknown, expected 'expected' or 'position'
    """

    relevance: Relevance = "category"
    k: Sequence[int] = (10,)
    accuracy_at: Sequence[int] = (1, 5, 10)
    map_depth: int | None = None
    denominator: Denominator = "relevant"
    ties: Ties = "expected"
    exclude_self: bool | None = None
    candidates: Candidates = "all"
    rerank: int | None = None
    rerank_by: RerankedBy = "real"
    mi3dor: bool = False
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise CodesError(
                    f"{name} {shown(value)} is unknown, expected {' or '.join(map(repr, allowed))}"
                )
        for name in ("exclude_self", "mi3dor"):
            value = getattr(self, name)
            if not isinstance(value, int | np.bool_) and (name, value) != ("exclude_self", None):
                raise CodesError(f"{name} is {shown(value)}, expected True or False")
        if self.candidates == "category" and self.relevance == "category":
            raise CodesError(
                "candidates 'category': every candidate would be relevant, expected relevance 'instance' with it"
            )
        object.__setattr__(self, "k", _depths("k", self.k))
        object.__setattr__(self, "accuracy_at", _depths("accuracy_at", self.accuracy_at))
        if self.map_depth is not None:
            depth = as_int(self.map_depth, "map_depth")
            object.__setattr__(self, "map_depth", _depths("map_depth", depth)[0])
        if self.rerank is not None:
            first = as_int(self.rerank, "rerank")
            object.__setattr__(self, "rerank", _depths("rerank", first)[0])

        if not 0 <= as_int(self.bootstrap, "bootstrap") < MOST_DRAWS:
            raise CodesError(f"bootstrap is {self.bootstrap}, expected 0 to {MOST_DRAWS - 1} draws")
        if as_int(self.seed, "seed") < 0:
            raise CodesError(f"seed is {self.seed}, expected 0 or more")

    def settings(self) -> dict[str, Any]:
        """The fields of a protocol by name."""
        return {field.name: getattr(self, field.name) for field in fields(Protocol)}


def as_protocol(protocol: Protocol | None, **changes: Any) -> Protocol:
    """A protocol with changes; by default `Protocol()`.

    Args:
        protocol: the rules, or None.
        **changes: fields of `Protocol` by name.

    Raises:
        CodesError: if it is none, or a field is not known.

    Examples:
        >>> as_protocol(None, k=[1]).k
        (1,)
        >>> as_protocol({"k": [1]})
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: protocol is a dict, expected a Protocol, such as Protocol(k=[1, 10])
    """
    if protocol is not None and not isinstance(protocol, Protocol):
        raise CodesError(
            f"protocol is a {type(protocol).__name__}, expected a Protocol, such as Protocol(k=[1, 10])"
        )
    known = [field.name for field in fields(Protocol)]
    for name in changes:
        if name not in known:
            raise CodesError(f"{name!r} is no rule of an evaluation, expected one of: {', '.join(known)}")
    return replace(protocol or Protocol(), **changes)


class ProtocolFields(TypedDict, total=False):
    """The fields of `Protocol` as keywords of `evaluate`.

    Examples:
        >>> changes: ProtocolFields = {"k": [1, 5], "ties": "position"}
        >>> Protocol(**changes).k
        (1, 5)
    """

    relevance: Relevance
    k: Sequence[int]
    accuracy_at: Sequence[int]
    map_depth: int | None
    denominator: Denominator
    ties: Ties
    exclude_self: bool | None
    candidates: Candidates
    rerank: int | None
    rerank_by: RerankedBy
    mi3dor: bool
    bootstrap: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Rules(Protocol):
    """A protocol with what was counted under it: everything a reader must know to compare the numbers with others.

    Attributes:
        queries: number of queries.
        items: size of the database.
        width: bits of a code, or components of an embedding.
        ranking: "Hamming distance" or "cosine".
        left_out: queries without a relevant item, not in the mean of any measure that asks for relevant items.
        without_instance: queries without an item of the same shape, not in Acc@K, MRR and median rank; None without
            instances.
        without_cloud: queries that HAU leaves out, since a cloud is missing; None without clouds.
        without_voxels: queries that IoU leaves out, since voxels are missing; None without voxels.
        voxels: how the voxels of IoU are made, "" without them.
        self_left_out: queries whose own item was left out of the database.
        clusters: number of shapes that the bootstrap drew, None if it drew single queries.
        query_splits: the splits that the queries are of, in order of their names; None where unknown.
        database_splits: those that the items are of.

    Examples:
        >>> from cmah.codes import BinaryCodes
        >>> from cmah.evaluation import evaluate
        >>> codes = BinaryCodes.from_bits([[0, 0], [0, 1], [1, 1]], categories=["chair", "chair", "lamp"])
        >>> rules = evaluate(codes, codes).rules
        >>> rules.width_text, rules.self_left_out, rules.left_out  # there is no other lamp
        ('2 bits', 3, 1)
        >>> rules.lines()[1]
        'relevant = same category; mAP over the full ranking, AP divided by: relevant'
    """

    queries: int
    items: int
    width: int
    ranking: Literal["Hamming distance", "cosine"]
    left_out: int
    without_instance: int | None
    without_cloud: int | None
    without_voxels: int | None
    voxels: str
    self_left_out: int
    clusters: int | None
    query_splits: tuple[str, ...] | None = None
    database_splits: tuple[str, ...] | None = None

    @property
    def width_text(self) -> str:
        """The width with its unit, such as "64 bits" or "512 floats"."""
        return f"{self.width} {'bits' if self.ranking == 'Hamming distance' else 'floats'}"

    def lines(self) -> list[str]:
        """The rules in words; those that do not depend on the width or the number of queries."""
        depth = "full ranking" if self.map_depth is None else f"first {self.map_depth} ranks"
        if self.ties == "expected":
            ties = "expectation over all orders of ties (in brackets: relevant items last - first)"
        else:
            ties = "ties in order of position in the database"
        itself = "the query itself is left out" if self.self_left_out else "the paired item stays and counts"
        among = " among the items of the query's own category" if self.candidates == "category" else ""
        lines = [
            f"ranking by {self.ranking}{among}, {ties}; {itself}",
            f"relevant = same {self.relevance}; mAP over the {depth}, AP divided by: {self.denominator}",
        ]
        if self.rerank is not None:
            lines.append(
                f"the first {self.rerank} of each query, by (distance, position in the database), are ranked anew by "
                f"{SCORES[self.rerank_by]}; there, ties are equal scores at equal distance"
            )
        if self.bootstrap:
            drawn = "queries" if self.clusters is None else "the shapes that the queries show"
            lines.append(
                f"± = 95 % interval of mAP, {self.bootstrap} bootstrap draws of {drawn}, seed {self.seed}"
            )
        if self.mi3dor:
            lines.append(
                "MI3DOR = as its released script counts: ties in order of the database; a query without a relevant "
                "item counts as 0, and ANMRR then has no value"
            )
        if self.voxels:
            lines.append(f"voxels: {self.voxels}")
        return lines

    def counts(self, clouds: bool = True) -> str:
        """The numbers of queries and items in words; with or without those that HAU and Chamfer distance leave out."""
        text = f"{self.queries} queries{_of_splits(self.query_splits)}, "
        text += f"{self.items} items{_of_splits(self.database_splits)}"
        if self.left_out:
            text += f"; {self.left_out} queries have no relevant item and are left out"
        if self.without_instance:
            text += f"; {self.without_instance} queries have no item of their shape and are left out of Acc@K"
        if clouds and self.without_cloud:
            text += f"; {self.without_cloud} queries or their first hits have no point cloud and are left out of HAU"
        if self.without_voxels:
            text += (
                f"; {self.without_voxels} queries or their first hits have no voxels and are left out of IoU"
            )
        return text

    def record(self) -> dict[str, Any]:
        """The rules as plain data, as in JSON; candidates, voxels and splits only where they say something."""
        values = {name: getattr(self, name) for name in RECORDED}
        plain = {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}
        query, database = self.query_splits, self.database_splits
        if query is None or database is None or query == database:
            return plain
        return {**plain, "query_splits": [*query], "database_splits": [*database]}


def _of_splits(names: tuple[str, ...] | None) -> str:
    """Names of splits behind a number of items; "(none)" stands for items that state no split."""
    listed = ", ".join(name or "(none)" for name in names or ())
    return f" of split{'s' * (len(names or ()) > 1)} {listed}" if listed else ""


def _depths(name: str, values: int | Sequence[int]) -> tuple[int, ...]:
    """Ranks, checked to fit an int64."""
    whole = as_ints(values, name)
    if any(not 1 <= value < 2**63 for value in whole):
        raise CodesError(f"{name} is {shown(whole)}, expected 1 to 2^63 - 1")
    return whole

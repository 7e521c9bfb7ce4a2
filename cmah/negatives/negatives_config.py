"""The settings of weights on negatives, `loss.negatives` of a run, and which of them go together."""

from dataclasses import dataclass
from typing import Literal

from cmah.errors import ConfigError
from cmah.settings import Settings, Share


@dataclass(frozen=True)
class NegativesConfig(Settings):
    """How the negatives of a batch are weighted; the table `negatives` within a recipe's loss settings.

    Attributes:
        kind: which similarity of two shapes gives the weights: "i2i" of their views, "i2l2" of their views' distances
            to landmark texts, "avg" the average of the weights of both, "i2i_all" of the views without regard to
            categories (alpha has no effect). "" weights all negatives alike.
        views: "corresponding" compares views of the same camera; "all_pairs" takes the mean over all pairs of
            views, for shapes whose cameras do not correspond.
        alpha: similarity of two shapes of different categories, from 0 to 1.
        categories: "labels" takes the dataset's categories; "clusters" replaces them by k-means of the shapes' mean
            embeddings (for "i2i" only).
        clusters: number of clusters, at least 2; 0 where categories are labels.
        landmarks: path of a landmark file; categories that it lacks are looked up in the one that comes with cmah.
            "" uses that one alone.
        landmarks_per_category: how many landmarks of each category are used, from the first on; 0 uses as many
            as the category with the fewest has.
        variant: "paper" follows the paper's equations; "released" computes the weights, and in `captionless` the
            loss, as the authors' code does.
        diagonal: weight of the positive: "one" is 1, "eq6" what equation 6 gives.
        image_encoder: the frozen encoder whose embeddings are compared, such as open_clip:ViT-B-32; "" takes the
            model's own frozen image encoder.
        image_weights: weights of `image_encoder`: a file or download:TAG.

    Examples:
        >>> NegativesConfig("i2i", views="all_pairs").alpha
        0.25
        >>> NegativesConfig("avg", categories="clusters", clusters=8)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.negatives: avg needs the names of categories, ...
    """

    table = "loss.negatives"

    kind: Literal["", "i2i", "i2l2", "avg", "i2i_all"] = ""
    views: Literal["corresponding", "all_pairs"] = "corresponding"
    alpha: Share = 0.25
    categories: Literal["labels", "clusters"] = "labels"
    clusters: int = 0
    landmarks: str = ""
    landmarks_per_category: int = 0
    variant: Literal["paper", "released"] = "paper"
    diagonal: Literal["one", "eq6"] = "one"
    image_encoder: str = ""
    image_weights: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_effects()
        if self.categories == "clusters":
            if self.kind in ("i2l2", "avg"):
                raise ConfigError(
                    f"loss.negatives: {self.kind} needs the names of categories, which clusters have not; "
                    "set kind = i2i or categories = labels"
                )
            if self.clusters < 2:
                raise ConfigError(
                    f"loss.negatives.clusters = {self.clusters}: expected at least 2 for categories = clusters"
                )
        if self.variant == "released" and (not self.kind or self.diagonal != "one"):
            raise ConfigError("loss.negatives: variant = released needs a kind, and diagonal = one")

    def _check_effects(self) -> None:
        """Refuse a setting that the others leave without effect: whoever gave it expects one."""
        reads_landmarks = self.kind in ("i2l2", "avg")
        reads_clusters = self.categories == "clusters" and self.kind != "i2i_all"
        unused: dict[str, object] = {
            "image_encoder": not self.kind and self.image_encoder,
            "landmarks": not reads_landmarks and self.landmarks,
            "landmarks_per_category": not reads_landmarks and self.landmarks_per_category,
            "clusters": not reads_clusters and self.clusters,
        }
        for key, value in unused.items():
            if value:
                raise ConfigError(
                    f"loss.negatives.{key} = {value!r}: has no effect with kind = {self.kind!r} and categories = "
                    f"{self.categories!r}"
                )


def described(config: NegativesConfig) -> str:
    """The loss that these settings make, in words.

    Examples:
        >>> described(NegativesConfig("i2i", views="all_pairs"))
        'InfoNCE, negatives weighted by i2i, all pairs of views'
    """
    if not config.kind:
        return "InfoNCE"
    views = ", all pairs of views" if config.views == "all_pairs" else ""
    groups = f", {config.clusters} clusters" if config.categories == "clusters" else ""
    variant = ", as released" if config.variant == "released" else ""
    return f"InfoNCE, negatives weighted by {config.kind}{views}{groups}{variant}"

"""The settings of the model of style_mixed, and which of them go together."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cmah.errors import ConfigError
from cmah.models.hash_head import check_lengths
from cmah.settings import Count, ProperShare, Range, Settings


@dataclass(frozen=True)
class StyleMixedConfig(Settings):
    """The encoders of pictures and of views, and how their vectors become codes.

    Attributes:
        level: "instance" learns which very shape an image shows; "category" brings unlabelled shapes to the classes of
            labelled images.
        bits: code lengths; with a learned head each is a prefix of the longest.
        head: "tanh" and "layernorm_ste" are hash heads learned with the vectors; "itq" fits codes to the vectors after
            training.
        head_hidden: width of the hidden layer of learned hash heads; 0 for none.
        head_dropout: dropout of learned hash heads, from 0 up to 1.
        dim: width of the vectors of pictures and views.
        dropout: before the layer that gives these vectors, from 0 up to 1.
        image_encoder: convolutional network for pictures, timm:NAME; it is trained.
        image_weights: its weights at the start: a file or download:TAG; "" for random ones.
        image_size: pixels of pictures and views; 0 takes the encoder's size.
        masks: whether pictures have a fourth channel, the mask of the object.
        shape_input: what shows a shape: always its "views".
        shape_encoder: network for views, timm:NAME; "" takes that of pictures, with weights of its own.
        shape_weights: its weights at the start; "" takes those of the network for pictures where the networks are
            alike, else random ones.
        shared: whether one network, with one set of weights, sees pictures and views.
        views: how many views of a shape are seen at most.
        views_as: "four grey" takes four views as the channels of one picture; "grey" and "colour" take them one by one.
        views_from: which renders of a shape may be its views: "all", or every second one, "even" or "odd", so that
            the others can be queries.
        view_pooling: how the vectors of the views become that of codes: "mean" or "max".
        style_stage: behind which stage of the networks the style is mixed in training: 1, 2 or 3; 0: nowhere.
        categories: the classes of the level "category", taken from the labelled images when training starts.

    Examples:
        >>> StyleMixedConfig().views_as, StyleMixedConfig().view_group
        ('four grey', 4)
        >>> StyleMixedConfig(shared=True)
        Traceback (most recent call last):
        cmah.errors.ConfigError: model.shared = True: pictures and views must be alike (model.masks=false, ...)
    """

    table = "model"

    level: Literal["instance", "category"] = "instance"
    bits: tuple[int, ...] = (16, 32, 64)
    head: Literal["tanh", "layernorm_ste", "itq"] = "tanh"
    head_hidden: int = 0
    head_dropout: ProperShare = 0.0
    dim: Count = 128
    dropout: ProperShare = 0.5
    image_encoder: str = "timm:resnet50"
    image_weights: str = ""
    image_size: int = 0
    masks: bool = True
    shape_input: Literal["views"] = "views"
    shape_encoder: str = ""
    shape_weights: str = ""
    shared: bool = False
    views: Count = 12
    views_as: Literal["four grey", "grey", "colour"] = "four grey"
    views_from: Literal["all", "even", "odd"] = "all"
    view_pooling: Literal["mean", "max"] = "mean"
    style_stage: Annotated[int, Range(0, 3)] = 2
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lengths(self.bits)
        for key in ("image_encoder", "shape_encoder"):
            name = getattr(self, key)
            if not name.startswith("timm:") and (name or key == "image_encoder"):
                raise ConfigError(
                    f"model.{key} = {name!r}: expected timm:NAME, a convolutional network such as timm:resnet50"
                )
        if self.categories and (self.level == "instance" or len({*self.categories}) < len(self.categories)):
            raise ConfigError(
                f"model.categories = {list(self.categories)}: expected each class once, at model.level=category only"
            )
        if self.head == "itq" and (len(self.bits) > 1 or self.bits[-1] > self.dim):
            raise ConfigError(
                f"model.bits = {list(self.bits)}: codes by ITQ are not nested and have at most model.dim = {self.dim} "
                "bits; give one such length, or learn a head with model.head=tanh"
            )
        if self.shared and (self.masks or self.views_as != "colour"):
            raise ConfigError(
                "model.shared = True: pictures and views must be alike (model.masks=false, model.views_as=colour)"
            )
        if self.shared and (self.shape_encoder or self.shape_weights):
            raise ConfigError("model.shared = True: leaves no place for model.shape_encoder or shape_weights")

    @property
    def view_group(self) -> int:
        """How many views give one vector."""
        return 4 if self.views_as == "four grey" else 1

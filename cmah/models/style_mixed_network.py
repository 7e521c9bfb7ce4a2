"""The model of style_mixed: a network for pictures and one for views, attention over views, and hash heads.

That of SC-IBSR (Song et al., TOMM 2024) and, with its style parts off, of CMIC (Lin et al., ICCV 2021), as their
released code has it. The hash heads are an addition of ours: neither method has codes.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cmah.errors import ConfigError
from cmah.models.backbones import Tuned
from cmah.models.domain_discriminator import DomainDiscriminator
from cmah.models.encoder_model import FrozenImages
from cmah.models.hash_head import HashHead
from cmah.models.staged_backbone import Channels, StagedBackbone, grey, staged_tower
from cmah.models.style_mixed_config import StyleMixedConfig
from cmah.models.style_transition import StyleTransition
from cmah.models.view_attention import ViewAttention
from cmah.models.view_pooling import ViewPooling, each_view
from cmah.vectors import unit_rows


class StyleMixed(nn.Module):
    """Pictures and shapes to vectors of one space, and to codes.

    A shape has one vector for each view, or for each group of four. A query scores with it by `attention`, which weighs
    these vectors for the query; codes, and the embedding of a shape, come of their mean or maximum.

    Attributes:
        attention: the score of pictures with shapes, at the level "instance".
        classifier: from vectors to logits of `categories`, at the level "category".

    Examples:
        >>> config = StyleMixedConfig(image_encoder="timm:test_resnet", image_size=64, dim=16, views=8)
        >>> net = StyleMixed(config).eval()
        >>> pictures = torch.zeros(2, 4, 64, 64, dtype=torch.uint8)
        >>> shapes = {"views": torch.zeros(3, 8, 3, 64, 64, dtype=torch.uint8), "view_mask": torch.ones(3, 8) > 0}
        >>> tuple(net.encode_images(pictures).shape), tuple(net.encode_shapes(shapes).shape)  # 16 and 64 bits
        ((2, 80), (3, 80))
        >>> vectors, there = net.view_vectors(*net.view_maps(shapes))  # two groups of four views each
        >>> tuple(vectors.shape), tuple(there.shape)
        ((3, 2, 16), (3, 2))
    """

    points = 0
    colours = False
    image_kinds: tuple[str, ...] = ()
    frozen_images: FrozenImages | None = None
    # buffers of the level "category"
    steps: Tensor
    centres_source: Tensor
    centres_target: Tensor
    centres_seen: Tensor

    def __init__(self, config: StyleMixedConfig) -> None:
        super().__init__()
        c = self.config = config
        self.remarks: list[str] = []
        pixels: Channels = "colour and mask" if c.masks else "colour"
        stage = c.style_stage or 2
        self.image_tower = staged_tower(c.image_encoder, c.image_weights, c.image_size, pixels, stage)
        self.dim = c.dim
        self.image_size = c.image_size or self.image_net.default_size
        self.shape_tower = None
        self.image_neck = _neck(c, self.image_net.dim)
        self.own_neck: nn.Module | None = None
        if not c.shared:
            alike = c.shape_encoder in ("", c.image_encoder)
            encoder = c.shape_encoder or c.image_encoder
            weights = c.shape_weights or (c.image_weights if alike else "")
            self.shape_tower = staged_tower(encoder, weights, self.image_size, c.views_as, stage)
            self.own_neck = _neck(c, self.view_net.dim)
            if not weights:
                self.remarks.append(f"{encoder} for views starts from random weights (model.shape_weights)")
        if not c.image_weights:
            self.remarks.append(
                f"{c.image_encoder} for pictures starts from random weights (model.image_weights)"
            )
        self.style = StyleTransition()
        widths = self.image_net.cut_dim, self.view_net.cut_dim
        if c.style_stage and widths[0] != widths[1]:
            raise ConfigError(
                f"model.style_stage = {c.style_stage}: the networks for pictures and views have {widths[0]} and "
                f"{widths[1]} channels there; expected as many (model.style_stage=0 mixes no style)"
            )
        self.attention = ViewAttention(c.dim) if c.level == "instance" else None
        self.classifier = self.discriminator = None
        if c.level == "category":
            if len(c.categories) < 2:
                raise ConfigError(
                    f"model.categories = {list(c.categories)}: expected two or more, those of the labelled images"
                )
            self.classifier = nn.Linear(c.dim, len(c.categories))
            self.discriminator = DomainDiscriminator(c.dim * len(c.categories))
            # buffers, so that a resumed run goes on with them
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
            for side in ("source", "target"):
                self.register_buffer(f"centres_{side}", torch.zeros(len(c.categories), c.dim))
            self.register_buffer("centres_seen", torch.zeros(2, len(c.categories), dtype=torch.bool))
        self.pooling = ViewPooling(c.dim, c.view_pooling)
        self.image_head = self.shape_head = None
        if c.head != "itq":
            self.image_head = HashHead(c.dim, c.bits[-1], c.head_hidden, c.head, c.head_dropout)
            self.shape_head = HashHead(c.dim, c.bits[-1], c.head_hidden, c.head, c.head_dropout)
        self._begin_alike()
        self.learned_codes, self.code_lengths = c.head != "itq", c.bits
        self.width = c.dim + (c.bits[-1] if self.learned_codes else 0)
        self.masks, self.shape_input = c.masks, c.shape_input
        self.views, self.views_from, self.view_group = c.views, c.views_from, c.view_group

    def _begin_alike(self) -> None:
        """Give both sides the same weights behind the networks, where the networks are alike, and attention W = 1.

        So a picture and a view that look alike have like vectors and codes from the first step on; with random weights
        for each side, 400 steps do not reach what the pre-trained network finds by itself.
        """
        pairs: list[tuple[nn.Module | None, nn.Module | None]] = [(self.image_head, self.shape_head)]
        if self.image_net.dim == self.view_net.dim:
            pairs.append((self.image_neck, self.own_neck))
        for one, other in pairs:
            if one is not None and other is not None:
                other.load_state_dict(one.state_dict())
        if self.attention is not None:
            nn.init.eye_(self.attention.projection.weight)

    @property
    def centres(self) -> tuple[Tensor, Tensor, Tensor]:
        """At the level "category" the centres of the classes so far, and which there are; see `ClassCentres`."""
        return self.centres_source, self.centres_target, self.centres_seen

    def count_step(self, centres: tuple[Tensor, Tensor, Tensor] | None) -> None:
        """Count an optimiser step of the level "category".

        Args:
            centres: those after the step, as in `centres`; None where they are not used.
        """
        with torch.no_grad():
            self.steps += 1
            for buffer, value in zip(self.centres, centres, strict=True) if centres else ():
                buffer.copy_(value)

    @property
    def image_net(self) -> StagedBackbone:
        """The network for pictures."""
        return _net(self.image_tower)

    @property
    def view_net(self) -> StagedBackbone:
        """The network for views."""
        return _net(self.image_tower if self.shape_tower is None else self.shape_tower)

    @property
    def shape_neck(self) -> nn.Module:
        """What makes vectors of the features of views."""
        return self.image_neck if self.own_neck is None else self.own_neck

    def image_maps(self, pictures: Tensor) -> Tensor:
        """Pictures uint8 [b, 3 or 4, s, s] to feature maps [b, c, h, w] of the stage where the style is mixed."""
        return self.image_net.early(pictures.float() / 255)

    def image_vectors(self, maps: Tensor) -> Tensor:
        """Feature maps [b, c, h, w] to vectors [b, dim]; of unit length at the level "instance"."""
        return self._vectors(self.image_neck(self.image_net.late(maps)))

    def view_maps(self, shapes: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Feature maps of views, or of groups of views, at the stage where the style is mixed.

        Args:
            shapes: "views" uint8 [s, v, 3, h, w] and "view_mask" bool [s, v], which of the v places hold a view.

        Returns:
            maps [s, g, c, h, w], and bool [s, g], which of the g places hold something.
        """
        views, there = self._as_channels(shapes["views"], shapes["view_mask"])
        maps = self.view_net.early(views.flatten(0, 1).float() / 255)
        return maps.unflatten(0, tuple(there.shape)), there

    def view_vectors(self, maps: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [s, g, dim] of what `view_maps` gives, of unit length at the level "instance", and `there`."""
        rows = each_view(lambda x: self.shape_neck(self.view_net.late(x)), maps, there, self.training)
        return self._vectors(rows), there

    def pooled(self, vectors: Tensor, there: Tensor) -> Tensor:
        """The vectors of views [s, g, dim] as one of each shape, [s, dim]; of unit length at the level "instance"."""
        pooled: Tensor = self.pooling(vectors, there)
        return self._vectors(pooled)

    def encode_images(self, images: Tensor) -> Tensor:
        """Pictures uint8 [b, 3, s, s], with masks [b, 4, s, s], to outputs [b, width]."""
        return self.outputs(self.image_vectors(self.image_maps(images)), self.image_head)

    def encode_shapes(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """A batch of shapes to outputs [b, width].

        Args:
            shapes: "views" uint8 [b, v, 3, s, s], and "view_mask" bool [b, v], which of the v places hold a view.
        """
        views, there = self._as_channels(shapes["views"], shapes["view_mask"])
        last = int(there.any(dim=0).nonzero().max()) + 1  # places that no shape of the batch has a view for
        views, there = views[:, :last], there[:, :last]
        # one group after the other, for the memory
        vectors = [self.shape_neck(self.view_net(group.float() / 255)) for group in views.unbind(dim=1)]
        return self.outputs(self.pooled(self._vectors(torch.stack(vectors, dim=1)), there), self.shape_head)

    def outputs(self, vectors: Tensor, head: HashHead | None) -> Tensor:
        """Vectors [b, dim] to outputs [b, width]: these vectors, and after them what a learned head makes of them."""
        vectors = vectors.float()
        # scaled by the root of its width, a unit vector has components of about 1, as the head's norm expects
        scaled = functional.normalize(vectors, dim=1) * self.dim**0.5
        return vectors if head is None else torch.cat([vectors, head(scaled)], dim=1)

    def relaxed(self, outputs: Tensor) -> Tensor:
        """Relaxed codes float32 [b, bits] of outputs [b, width] of learned heads."""
        return cast(HashHead, self.image_head).relax(outputs[:, self.dim :]).float()

    def embeddings(self, outputs: np.ndarray) -> np.ndarray:
        """The part of outputs [n, width] that is the embedding, at unit length: float32 [n, dim]."""
        return unit_rows(outputs[:, : self.dim]).astype(np.float32)

    def code_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """The part of outputs [n, width] that the learned heads gave, [n, bits]; their signs are the codes."""
        return outputs[:, self.dim :]

    def classes(self, outputs: np.ndarray) -> np.ndarray:
        """The class that the classifier prefers for outputs [n, width], as text [n].

        Raises:
            ConfigError: at the level "instance", which has no classifier.
        """
        if self.classifier is None:
            raise ConfigError("model.level = instance: has no classifier (expected category)")
        weight = self.classifier.weight
        vectors = torch.from_numpy(outputs[:, : self.dim]).to(weight)
        with torch.no_grad():
            best = self.classifier(vectors).argmax(dim=1).cpu().numpy()
        return np.array(self.config.categories)[best]

    def _vectors(self, rows: Tensor) -> Tensor:
        """As they are at the level "category", in float32; at the level "instance" at unit length."""
        rows = rows.float()
        return functional.normalize(rows, dim=-1) if self.config.level == "instance" else rows

    def _as_channels(self, views: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Views [s, v, 3, h, w] as the network takes them, [s, g, channels, h, w], and their mask [s, g]."""
        if self.config.views_as == "colour":
            return views, there
        views = grey(views.float())
        if self.config.views_as == "grey":
            return views[:, :, None], there
        return _in_fours(views, there)


def _in_fours(views: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Grey views [s, v, h, w] in groups of four, [s, ⌈v / 4⌉, 4, h, w]; places without a view repeat the first ones."""
    v = views.shape[1]
    place = torch.arange(-(-v // 4) * 4, device=views.device)
    # those that are there come first: place i of a shape with n views shows view i mod n
    count = there.sum(dim=1, keepdim=True).clamp_min(1)
    chosen = place[None, :] % count
    rows = torch.arange(len(views), device=views.device)[:, None]
    return views[rows, chosen].unflatten(1, (-1, 4)), place[None, ::4] < count


def _neck(config: StyleMixedConfig, width: int) -> nn.Module:
    """From features to vectors: with a batch norm at the level "instance", without one at the level "category"."""
    layers: Sequence[nn.Module] = (nn.BatchNorm1d(width),) if config.level == "instance" else ()
    return nn.Sequential(nn.Dropout(config.dropout), *layers, nn.Linear(width, config.dim))


def _net(tower: nn.Module) -> StagedBackbone:
    return cast(StagedBackbone, tower.net if isinstance(tower, Tuned) else tower)

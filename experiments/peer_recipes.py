"""The recipe `towers` with the objectives of other hashing methods in place of its loss.

Imported by hashing_peers.py, which passes them to the training loop; it has no command. Runs of them are runs of
`towers` to whatever reads them: the model is the same.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from peer_objectives import (
    bank_contrast,
    bernoulli_divergence,
    both_views_contrast,
    joint_affinity,
    moved,
    ranking,
    reconstruction,
    straight_through,
)
from torch import Tensor
from torch.nn import functional

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.features.frozen_batches import FrozenBatches
from cmah.recipes.towers import TowersRecipe


@dataclass(frozen=True)
class Ucch:
    """Of UCCH; the first epoch contrasts with the codes of the batch, as the bank knows nothing yet."""

    alpha: float = 0.9  # weight of the contrast; that of the ranking is 1 - α
    shift: float = 1.0
    temperature: float = 0.9
    margin: float = 0.2
    momentum: float = 0.4
    drawn: int = 4096


@dataclass(frozen=True)
class Djsrh:
    """Of DJSRH; features are those that the heads read."""

    beta: float = 0.6
    doubled: bool = True  # affinities 2 cos - 1 of the features as they are, else cos of standardised ones
    eta: float = 0.4
    mu: float = 1.5
    within: float = 0.1


@dataclass(frozen=True)
class Cib:
    """Of CIBHash."""

    temperature: float = 0.3
    weight: float = 0.001  # of the divergence


class WithoutPhotos(TowersRecipe):
    """`towers` whose batches hold no photos; their statistics are learned all the same."""

    def batches(self, dataset: Dataset, config: Config) -> FrozenBatches:
        """See `TowersRecipe.batches`."""
        batches = super().batches(dataset, config)
        batches.unpaired_batch = 0
        return batches


class Peer(WithoutPhotos):
    """`towers` with the objective of another method in place of its loss."""

    def __init__(self, config: Config, settings: Any) -> None:
        super().__init__(config)
        self.peer, self.epoch = settings, 0
        self.bank = torch.empty(0)

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Note the epoch."""
        self.epoch = epoch

    def batches(self, dataset: Dataset, config: Config) -> FrozenBatches:
        """See `TowersRecipe.batches`; UCCH's bank has a row for each shape, random signs at first."""
        batches = super().batches(dataset, config)
        rows = signs_of(len(batches.pairs), config.model.bits[-1])
        self.bank = rows.to(self.network.image_norm.mean.device)
        return batches

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of a batch of pairs."""
        network = self.network
        image = network.encode_image_features(batch["image_features"], batch["image_kinds"])
        shape = network.encode_shape_features(batch["shape_features"])
        with torch.autocast(shape.device.type, enabled=False):
            parts = self.objective(batch, image.float(), shape.float())
        return torch.stack([*parts.values()]).sum(), parts

    def objective(self, batch: dict[str, Tensor], image: Tensor, shape: Tensor) -> dict[str, Tensor]:
        """The parts of the loss, from the outputs [b, bits] of the heads."""
        raise NotImplementedError


def signs_of(rows: int, bits: int) -> Tensor:
    """Random signs [rows, bits] of length 1, from torch's global state."""
    return functional.normalize(torch.randn(rows, bits).sign(), dim=1)


class UcchObjective(Peer):
    """Contrast with a bank of binary codes, and the cross-modal ranking loss."""

    peer: Ucch

    def objective(self, batch: dict[str, Tensor], image: Tensor, shape: Tensor) -> dict[str, Tensor]:
        """See `Peer.objective`."""
        s, index = self.peer, batch["index"]
        image, shape = (functional.normalize(torch.tanh(each), dim=1) for each in (image, shape))
        bank, rows, drawn, momentum = self.bank, index, s.drawn, s.momentum
        if self.epoch == 0:
            bank, rows = (image + shape).detach(), torch.arange(len(image), device=image.device)
            drawn, momentum = 0, 0.0
        contrast = sum(
            (bank_contrast(each, bank, rows, s.temperature, drawn) for each in (image, shape)),
            image.new_zeros(()),
        )
        moved(self.bank, index, image, shape, momentum)
        ranked = ranking(image, shape, s.margin, s.shift)
        return {"contrast": s.alpha * contrast, "ranking": (1 - s.alpha) * ranked}


class DjsrhObjective(Peer):
    """Codes whose cosines reconstruct the joint affinity of frozen features."""

    peer: Djsrh

    def objective(self, batch: dict[str, Tensor], image: Tensor, shape: Tensor) -> dict[str, Tensor]:
        """See `Peer.objective`."""
        s, network = self.peer, self.network
        features = batch["image_features"].float(), batch["shape_features"].float()
        if not s.doubled:
            features = network.image_norm(features[0], batch["image_kinds"]), network.shape_norm(features[1])
        affinity = joint_affinity(*features, s.beta, s.eta, s.mu, doubled=s.doubled)
        steep = math.sqrt(self.epoch + 1)  # tanh comes near to the sign
        codes = torch.tanh(steep * image), torch.tanh(steep * shape)
        return {"reconstruction": reconstruction(*codes, affinity, s.within)}


class CibObjective(Peer):
    """NT-Xent of signs, and the divergence of the probabilities of bits."""

    peer: Cib

    def objective(self, batch: dict[str, Tensor], image: Tensor, shape: Tensor) -> dict[str, Tensor]:
        """See `Peer.objective`."""
        s = self.peer
        p, q = torch.sigmoid(image), torch.sigmoid(shape)
        contrast = both_views_contrast(straight_through(p), straight_through(q), s.temperature)
        divergence = (bernoulli_divergence(p, q) + bernoulli_divergence(q, p)) / 2
        return {"contrast": contrast, "divergence": s.weight * divergence}


# the first setting of each was chosen on held-out shapes; values are of the authors' code where none is marked
PEERS: dict[str, tuple[str, type[Peer], list[Any]]] = {
    "ucch": (
        "UCCH-style objective (reimplementation)",
        UcchObjective,
        [
            Ucch(temperature=0.3),  # reconstruction
            Ucch(temperature=0.15),  # reconstruction
            Ucch(),
            Ucch(alpha=0.7, shift=0.1),
        ],
    ),
    "djsrh": (
        "DJSRH-style objective (reimplementation)",
        DjsrhObjective,
        [
            Djsrh(beta=0.3, doubled=False),  # reconstruction
            Djsrh(doubled=False),  # reconstruction
            Djsrh(beta=0.9, doubled=False),  # reconstruction
            Djsrh(),
        ],
    ),
    "cib": (
        "CIBHash-style objective (reimplementation)",
        CibObjective,
        [Cib(temperature=0.2), Cib(), Cib(temperature=0.4)],
    ),
}

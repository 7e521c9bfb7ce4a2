"""Objectives of published unsupervised hashing methods, reimplemented over the outputs of two hash heads.

Imported by hashing_peers.py; it has no command. Equations and values are those of the authors' released code as it was
read in November 2026, not of the papers, where the two may differ; "reconstruction" marks what is ours.

- UCCH: Hu et al., "Unsupervised Contrastive Cross-modal Hashing", TPAMI 2023; github.com/penghu-cs/UCCH.
- DJSRH: Su et al., "Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised Cross-Modal Retrieval",
  ICCV 2019; github.com/zs-zhong/DJSRH.
- CIBHash: Qiu et al., "Unsupervised Hashing with Contrastive Information Bottleneck", IJCAI 2021;
  github.com/zexuanqiu/CIBHash.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from cmah.models.hash_head import signs

LEAST = 1e-8  # added within logarithms, as in CIBHash's code


def bank_contrast(outputs: Tensor, bank: Tensor, index: Tensor, temperature: float, drawn: int = 0) -> Tensor:
    """UCCH's contrast of unit outputs with the binary codes of a bank.

    With c = sign(bank) and s_ij = u_i·c_j / (τ √bits), the mean of -log( e^{s_ii} / (e^{s_ii} + Σ_j e^{s_ij}) ), the
    sum over `drawn` rows that are drawn from all n with replacement. Reconstruction: here the sum is its expectation,
    (drawn / n) Σ_j over the whole bank.

    Args:
        outputs: [b, bits], rows of length 1.
        bank: [n, bits].
        index: int64 [b], the row of the bank that belongs to each output.
        temperature: τ.
        drawn: negatives of each row; 0 takes each other row of the bank once.
    """
    logits = outputs @ signs(bank).T / (temperature * math.sqrt(bank.shape[1]))
    if not drawn:
        return functional.cross_entropy(logits, index)
    own = logits.gather(1, index[:, None])
    each = torch.cat([own, logits + math.log(drawn / len(bank))], dim=1)
    return (each.logsumexp(dim=1) - own[:, 0]).mean()


def moved(bank: Tensor, index: Tensor, images: Tensor, shapes: Tensor, momentum: float) -> None:
    """Move rows of UCCH's bank to the mean of the outputs of both modalities, in place; rows keep length 1."""
    means = functional.normalize((images + shapes).detach(), dim=1)
    bank[index] = functional.normalize(momentum * bank[index] + (1 - momentum) * means, dim=1)


def ranking(images: Tensor, shapes: Tensor, margin: float, shift: float) -> Tensor:
    """UCCH's cross-modal ranking loss of unit outputs [b, bits], both ways.

    With s_ij = u_i·v_j, lowered by `shift` where s_ij < s_ii - margin, the mean of log Σ_j e^{s_ij} - s_ii + margin.
    """
    scores = images @ shapes.T
    own = scores.diagonal()[:, None]
    total = scores.new_zeros(())
    for each in (scores, scores.T):
        lowered = torch.where(each >= own - margin, each, each - shift)
        total = total + (lowered.logsumexp(dim=1) - own[:, 0] + margin).mean()
    return total


def joint_affinity(
    images: Tensor, shapes: Tensor, beta: float, eta: float, mu: float, *, doubled: bool = True
) -> Tensor:
    """DJSRH's joint-semantics affinity of a batch, [b, b].

    μ ((1 - η) S + η S Sᵀ / b), S = β S_I + (1 - β) S_T, each of these 2 cos - 1 of the features of a modality.

    Args:
        images: [b, d], features of the images.
        shapes: [b, e], features of what is paired with them.
        beta: β, the share of the images.
        eta: η, the share of the affinities of second order.
        mu: μ, by which all is multiplied.
        doubled: 2 cos - 1, for features that are not negative; False: cos, for standardised features (reconstruction).
    """
    parts = []
    for features in (images, shapes):
        unit = functional.normalize(features, dim=1)
        cosine = unit @ unit.T
        parts.append(2 * cosine - 1 if doubled else cosine)
    joint = beta * parts[0] + (1 - beta) * parts[1]
    return mu * ((1 - eta) * joint + eta * joint @ joint / len(joint))


def reconstruction(images: Tensor, shapes: Tensor, affinity: Tensor, within: float) -> Tensor:
    """DJSRH's loss: squared errors of cosines of codes [b, bits] against an affinity, between and within modalities."""
    unit = functional.normalize(images, dim=1), functional.normalize(shapes, dim=1)
    across = functional.mse_loss(unit[0] @ unit[1].T, affinity)
    inside = [functional.mse_loss(each @ each.T, affinity) for each in unit]
    return across + within * (inside[0] + inside[1])


def both_views_contrast(images: Tensor, shapes: Tensor, temperature: float) -> Tensor:
    """CIBHash's NT-Xent of codes [b, bits]: each row against all 2b - 1 others of both views, by cosine."""
    unit = functional.normalize(torch.cat([images, shapes]), dim=1)
    logits = unit @ unit.T / temperature
    logits = logits.masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -torch.inf)
    b = len(images)
    counterpart = torch.arange(2 * b, device=unit.device).roll(b)
    return functional.cross_entropy(logits, counterpart)


def bernoulli_divergence(p: Tensor, q: Tensor) -> Tensor:
    """CIBHash's divergence of bits of probabilities p from q, [b, bits]: summed over bits, the mean over rows."""
    q = q.detach()
    ones = p * ((p + LEAST).log() - (q + LEAST).log())
    zeros = (1 - p) * ((1 - p + LEAST).log() - (1 - q + LEAST).log())
    return (ones + zeros).sum(dim=1).mean()


def straight_through(p: Tensor) -> Tensor:
    """±1 by whether a probability is at least ½, with the gradient of the probability itself."""
    return p + (signs(p - 0.5) - p).detach()

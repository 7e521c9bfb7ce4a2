"""Slow, obvious second implementations of what the encoders share."""

import math

import torch
from torch import Tensor


def plain_norm(norm: torch.nn.Module, x: Tensor) -> Tensor:
    """Layer norm of one vector."""
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def plain_batch_norm(norm: torch.nn.Module, x: Tensor) -> Tensor:
    """Batch norm of one vector with fixed statistics."""
    return (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias


def plain_gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def plain_block(block: torch.nn.Module, x: Tensor, heads: int) -> Tensor:
    """A pre-norm transformer block on tokens [t, width], head by head and token by token."""
    t, width = x.shape
    size = width // heads
    qkv = torch.stack([block.attn.qkv.weight @ plain_norm(block.norm1, row) for row in x])
    mixed = torch.zeros_like(x)
    for h in range(heads):
        query, key, value = (qkv[:, part * width + h * size :][:, :size] for part in range(3))
        for i in range(t):
            weights = (key @ query[i] / math.sqrt(size)).softmax(0)
            mixed[i, h * size : (h + 1) * size] = weights @ value
    x = x + mixed @ block.attn.proj.weight.T + block.attn.proj.bias
    out = []
    for row in x:
        hidden = plain_gelu(block.mlp.fc1.weight @ plain_norm(block.norm2, row) + block.mlp.fc1.bias)
        out.append(row + block.mlp.fc2.weight @ hidden + block.mlp.fc2.bias)
    return torch.stack(out)


def scramble(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights and statistics, so that no norm is the identity; float64, evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            scaled = noise / value.shape[-1] ** 0.5 if value.dim() > 1 else 0.1 * noise
            value.copy_(1 + noise.abs() if name.endswith("running_var") else scaled + (value.dim() == 1))
    return module

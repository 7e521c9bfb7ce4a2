"""The block is timm's, to the bit: what it begins with, what it computes, what it drops, and its gradients."""

import pytest
import torch
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn

from cmah.models.transformer_block import Block

CASES = {
    "encoders": ({"qkv_bias": True, "drop_path": 0.25}, {"norm_layer": nn.LayerNorm}),
    "fusion": ({"qkv_bias": True, "eps": 1e-6}, {}),
    "openshape": ({"hidden": 20}, {"norm_layer": nn.LayerNorm, "mlp_ratio": 20 / 12}),
}


@pytest.mark.parametrize("case", CASES)
def test_block_is_timms_to_the_bit(case: str) -> None:
    options, timm_options = CASES[case]
    shared = {key: value for key, value in options.items() if key not in ("hidden", "eps")}
    torch.manual_seed(0)
    ours = Block(12, 3, **options)
    after = torch.rand(1)
    torch.manual_seed(0)
    theirs = TimmBlock(12, 3, **shared, **timm_options)
    assert torch.equal(after, torch.rand(1))  # as many random numbers were drawn
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))

    tokens, results = torch.randn(5, 7, 12), []
    for block in (ours, theirs):
        torch.manual_seed(1)
        trained = block.train()(tokens)
        trained.square().sum().backward()
        results.append([trained, *(p.grad for p in block.parameters()), block.eval()(tokens)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 10: expected a multiple of the 4 attention heads"):
        Block(10, 4)

"""On a GPU the encoders give what they give on the CPU, and train in bfloat16."""

import pytest
import torch

from cmah.devices import full_float32
from cmah.models.pretrained import point_encoder

NAMES = ("ulip1_pointbert", "ulip2", "openshape_b32", "uni3d_ti", "ulip1_pointnext", "pointnext", "pointnet")


def clouds(count):
    points = torch.randn(2, count, 3, generator=torch.Generator().manual_seed(1))
    return points / points.norm(dim=2).amax(dim=1)[:, None, None]


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_the_device_makes_no_difference(name):
    torch.manual_seed(0)
    encoder = point_encoder(name).eval()
    points = clouds(2048)
    with torch.inference_mode(), full_float32():
        here = encoder(points)
        there = encoder.cuda()(points.cuda()).cpu()
    rms = here.square().mean().sqrt()
    assert (here - there).abs().max() < 2e-4 * rms


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_trains_in_bfloat16(name):
    torch.manual_seed(0)
    encoder = point_encoder(name).cuda().train()
    with torch.autocast("cuda", torch.bfloat16):
        out = encoder(clouds(2048).cuda())
    out.float().square().mean().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.isfinite().all()), key

"""PointNet: its folded layers against plain ones, and the file of a whole classifier."""

import pytest
import torch
from safetensors.torch import save_file

from cmah.errors import RunError
from cmah.models.pretrained.pointnet import PointNet


def scrambled(seed=0):
    """An encoder whose batch norms have statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    encoder = PointNet()
    for key, value in encoder.state_dict().items():
        if value.is_floating_point() and ("bn" in key or "bias" in key):
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(0.5 + noise.abs() if "var" in key or "weight" in key else 0.3 * noise)
    return encoder


def plain(encoder, cloud):
    """A cloud [n, 3] to its features, layer by layer, by the modules themselves."""
    x = cloud.T[None]  # [1, 3, n]
    for i in range(1, 6):
        part = encoder.feature_model
        x = torch.relu(getattr(part, f"bn{i}")(getattr(part, f"conv{i}")(x)))
    whole = x.max(dim=2).values
    first = torch.relu(encoder.bn1(encoder.linear1(whole)))
    second = torch.relu(encoder.bn2(encoder.linear2(first)))
    return torch.cat([whole, first, second], dim=1)


@torch.no_grad()
def test_equals_plain_layers():
    encoder = scrambled().double().eval()
    clouds = torch.randn(3, 70, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.cat([plain(encoder, cloud) for cloud in clouds])
    assert expected.shape == (3, encoder.dim)
    assert torch.allclose(encoder(clouds), expected, rtol=1e-10, atol=1e-12)


def test_files(tmp_path):
    encoder = scrambled()
    state = encoder.state_dict()
    head = {"linear3.weight": torch.zeros(40, 256), "linear3.bias": torch.zeros(40)}
    save_file({**state, **head}, tmp_path / "classifier.safetensors")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "parallel.pt")
    for name, ignored in (("classifier.safetensors", 2), ("parallel.pt", 0)):
        other = PointNet()
        other.load(str(tmp_path / name))
        assert other.ignored == ignored
        assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
    del state["linear2.bias"]
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(RunError, match=r"broken\.safetensors: misses 'linear2\.bias'"):
        PointNet().load(str(tmp_path / "broken.safetensors"))


def test_real_weights_see_what_they_should(shared):
    """PointNet's features of two resamplings of a shape are closer than those of two shapes."""
    import numpy as np

    tower = PointNet()
    tower.load(str(shared / "weights/pointnet_modelnet40.safetensors"))
    tower.eval()
    files = sorted((shared / "data/shapes41/points").glob("*.npy"))[:6]
    clouds = np.stack([np.load(f, allow_pickle=False)[:, :3].astype(np.float32) for f in files])
    with torch.no_grad():
        a, b = (
            torch.nn.functional.normalize(tower(torch.tensor(clouds[:, s])))
            for s in (slice(0, 1024), slice(1024, 2048))
        )
    assert (a @ b.T).argmax(dim=1).tolist() == list(range(6))


def test_pointnet_ignores_the_order_of_points():
    tower = PointNet().eval()
    points = torch.randn(2, 50, 3)
    with torch.no_grad():
        assert torch.allclose(tower(points), tower(points[:, torch.randperm(50)]), atol=1e-6)

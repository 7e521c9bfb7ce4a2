"""PointNeXt-S against the official network's outputs and a plain second implementation."""

import itertools

import numpy as np
import pytest
import torch
from official_encoders import Official

from cmah import point_ops
from cmah.errors import RunError
from cmah.models.pretrained import point_encoder
from cmah.models.pretrained.pointnext import PointNeXt, UlipPointNeXt

pytestmark = pytest.mark.slow

NAMES = ["ulip1_pointnext_2048", "ulip1_pointnext_8192", "sbrolli_pointnext"]


def read(file, tmp_path, **options):
    name = "pointnext" if "sbrolli" in file.name else "ulip1_pointnext"
    return point_encoder(name, str(file.save(tmp_path / "weights.pt", **options))).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs(shared, tmp_path, name, dtype):
    file = Official(shared, name)
    encoder = read(file, tmp_path).to(dtype)
    points = file.cloud().to(dtype)
    assert file.close(encoder.features(points), "out")
    got = encoder.embed(points)
    assert got.shape == (len(points), encoder.dim)
    assert file.close(got, "embed" if "ulip" in name else "out")


@torch.no_grad()
@pytest.mark.parametrize("name", ["ulip1_pointnext_2048", "sbrolli_pointnext"])
def test_all_on_the_way(shared, tmp_path, monkeypatch, name):
    file = Official(shared, name)
    encoder = read(file, tmp_path)
    features = []
    encoder.stem.register_forward_hook(lambda _, inputs, output: features.append(output))
    for level in encoder.levels:
        level.register_forward_hook(lambda _, inputs, output: features.append(output[1]))
    balls = []
    plain = point_ops.ball_query

    def watch(*inputs, **options):
        balls.append((inputs[0], plain(*inputs, **options)))
        return balls[-1][1]

    monkeypatch.setattr(point_ops, "ball_query", watch)
    points = file.cloud()
    encoder.embed(points)
    for i, x in enumerate(features):
        assert file.close(x[:, :16].transpose(1, 2), f"stage{i}_feat"), i
    centres = points[..., :3]
    for i, (query, neighbours) in enumerate(balls, 1):
        assert np.array_equal(neighbours.numpy(), file.golden[f"ball_idx_{i}"]), i
        order = torch.as_tensor(file.golden[f"fps_idx_{i}"].astype(np.int64))
        centres = point_ops.gather(centres, order)
        assert torch.equal(query, centres), i


def test_height_and_nothing_but_positions(shared):
    file = Official(shared, "ulip1_pointnext_2048")
    points = file.cloud()
    coloured = torch.cat([points[..., :3], torch.rand(2, 2048, 3)], dim=2)
    assert torch.equal(UlipPointNeXt().prepare(coloured), points)
    assert torch.equal(PointNeXt().prepare(coloured), points[..., :3])


def slow_features(weights, points):
    """The official network from its own weights, one point at a time: points [n, c] to [256], in float64."""
    weights = {
        key.removeprefix("module.").removeprefix("point_encoder."): value.double().numpy()
        for key, value in weights.items()
    }

    def layer(x, name, norm=True, relu=True):
        weight = weights[f"{name}.0.weight"]
        y = x @ weight.reshape(weight.shape[:2]).T
        if not norm:
            return y + weights[f"{name}.0.bias"]
        mean, variance = weights[f"{name}.1.running_mean"], weights[f"{name}.1.running_var"]
        y = (y - mean) / np.sqrt(variance + 1e-5) * weights[f"{name}.1.weight"] + weights[f"{name}.1.bias"]
        return np.maximum(y, 0) if relu else y

    xyz, x = points[:, :3], layer(points, "encoder.encoder.0.0.convs.0", norm=False)
    radius = 0.15
    for i in range(1, 5):
        picks, distance = [0], np.full(len(xyz), np.inf)
        while len(picks) < max(1, len(xyz) // 2):
            distance = np.minimum(distance, np.square(xyz - xyz[picks[-1]]).sum(axis=1))
            picks.append(int(distance.argmax()))
        rows = []
        for pick in picks:
            near = np.flatnonzero(np.square(xyz - xyz[pick]).sum(axis=1) < radius**2)[:32]
            around = np.concatenate([(xyz[near] - xyz[pick]) / radius, x[near]], axis=1)
            around = layer(around, f"encoder.encoder.{i}.0.convs.0")
            rows.append(layer(around, f"encoder.encoder.{i}.0.convs.1", relu=False).max(axis=0))
        x = np.maximum(np.array(rows) + layer(x[picks], f"encoder.encoder.{i}.0.skipconv", norm=False), 0)
        xyz, radius = xyz[picks], radius * 1.5
    x = layer(np.concatenate([xyz, x], axis=1), "encoder.encoder.5.0.convs.0")
    x = layer(x, "encoder.encoder.5.0.convs.1").max(axis=0)
    return layer(layer(x, "prediction.head.0"), "prediction.head.2")


def official_state(encoder):
    """Weights by official name, as the encoder's layout gives them."""
    names = encoder.layouts[0].names
    state = {}
    for key, value in encoder.state_dict().items():
        own = max((own for own in names if key.startswith(own)), key=len)
        state[names[own] + key[len(own) :]] = value
    return state


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 3, 40, 333])
@pytest.mark.parametrize("repeated", [False, True])
def test_second_implementation(n, repeated):
    """Odd sizes, points that occur twice, points at the origin; no reference data is needed."""
    generator = torch.Generator().manual_seed(n)
    encoder = UlipPointNeXt().double().eval()
    for key, value in encoder.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            value.copy_(1 + 0.1 * noise.abs() if "running_var" in key else 0.3 * noise)
    points = 0.5 * torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
    points[:, n // 2, :3] = 0
    if repeated:
        points[:, n // 3 :] = points[:, n // 3, None]
    expected = np.stack([slow_features(official_state(encoder), cloud) for cloud in points.numpy()])
    got = encoder.features(points).numpy()
    assert np.abs(got - expected).max() <= 1e-9 * np.sqrt(np.square(expected).mean())


@torch.no_grad()
def test_alone_or_in_a_batch(shared, tmp_path):
    file = Official(shared, "sbrolli_pointnext")
    encoder = read(file, tmp_path)
    points = file.cloud()
    whole = encoder(points)
    bound = 5e-5 * float(whole.square().mean().sqrt())
    assert torch.allclose(encoder(points[1:]), whole[1:], rtol=0, atol=bound)
    with torch.enable_grad():  # in one piece, as in training
        assert torch.allclose(encoder(points), whole, rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["ulip1_pointnext_2048", "sbrolli_pointnext"])
def test_files(shared, tmp_path, name):
    file = Official(shared, name)
    every = read(file, tmp_path, every=True)
    needed = read(file, tmp_path)
    beside = [entry for entry in file.entries(every=True) if "point_encoder" not in entry["key"]]
    assert every.ignored == len(beside) - ("ulip" in name)  # its pc_projection is read
    weights = file.weights()
    bare = {key.removeprefix("module."): value for key, value in weights.items()}
    torch.save(bare, tmp_path / "bare.pt")
    other = type(every)()
    other.load(str(tmp_path / "bare.pt"))
    for key, value in every.state_dict().items():
        assert torch.equal(value, needed.state_dict()[key])
        assert torch.equal(value, other.state_dict()[key])
    key = next(key for key in weights if key.endswith("encoder.encoder.3.0.convs.1.0.weight"))
    for change, message in (
        ({key: weights[key][:-1]}, f"'{key}' is "),
        ({key.replace("3.0", "6.0"): weights[key]}, "has an unexpected"),
    ):
        file.save(tmp_path / "wrong.pt", weights | change)
        with pytest.raises(RunError, match=message):
            every.load(str(tmp_path / "wrong.pt"))


def test_one_is_not_the_other(shared, tmp_path):
    path = Official(shared, "sbrolli_pointnext").save(tmp_path / "weights.pt")
    with pytest.raises(RunError, match=r"weights\.pt: "):
        point_encoder("ulip1_pointnext", str(path))


def test_it_can_be_trained():
    encoder = UlipPointNeXt().train()
    encoder(torch.rand(2, 256, 3) - 0.5).square().mean().backward()
    assert [name for name, value in encoder.named_parameters() if value.grad is None] == []


def test_every_radius():
    radii = [level.radius for level in PointNeXt().levels]
    assert all(b == pytest.approx(1.5 * a) for a, b in itertools.pairwise([0.1, *radii]))

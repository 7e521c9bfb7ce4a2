"""Uni3D against the official network's outputs, its published key lists, and plainer ways to the same numbers."""

import numpy as np
import pytest
import torch
from official_encoders import Official

from cmah import point_ops
from cmah.errors import RunError
from cmah.models.pretrained import point_encoder
from cmah.models.pretrained.foreign_weights import load_tower
from cmah.models.pretrained.uni3d import ColouredTokenizer, Uni3D
from cmah.models.tokenizers import PointTokenizer

pytestmark = pytest.mark.slow

UNUSED = {"ti": 4, "s": 4, "b": 6, "l": 6, "g": 6}  # stem, class token, positions, (head) of the image model


@pytest.fixture(scope="module")
def tiny(shared, tmp_path_factory):
    """uni3d_ti as published, and the encoder that read it."""
    file = Official(shared, "uni3d_ti")
    path = file.save(tmp_path_factory.mktemp("uni3d") / "model.pt", every=True)
    return file, point_encoder("uni3d_ti", str(path)).eval()


def cloud(n=600, b=2, colours=True, seed=0):
    """Points on a sphere of radius 1."""
    x = torch.randn(b, n, 6, generator=torch.Generator().manual_seed(seed))
    xyz = x[..., :3] / x[..., :3].norm(dim=2, keepdim=True)
    return torch.cat([xyz, x[..., 3:].sigmoid()], dim=2) if colours else xyz


@torch.no_grad()
def test_tiny_and_all_on_its_way(tiny):
    file, encoder = tiny
    seen = {}

    def watch(module, name):
        return module.register_forward_hook(
            lambda _, inputs, output: seen.update({name: (inputs[0], output)})
        )

    parts = {
        "patches": encoder.tokens,
        "map": encoder.encoder2trans,
        "position": encoder.pos_embed,
        "first": encoder.blocks[0],
        "last": encoder.blocks[-1],
        "end": encoder.trans2embed,
    }
    hooks = [watch(module, name) for name, module in parts.items()]
    points = file.cloud()
    assert file.close(encoder.embed(points), "out")
    for hook in hooks:
        hook.remove()
    for key, got in {
        "centers": seen["position"][0],
        "patch_feat": seen["patches"][1][:, :48],
        "tokens": seen["map"][1][:, :48],
        "pos": seen["position"][1][:, :48],
        "block0_in": seen["first"][0][:, :48],
        "block0_out": seen["first"][1][:, :48],
        "last_block_out": seen["last"][1][:, :48],
        "feat": seen["end"][0],
    }.items():
        assert file.close(got, key), key


def test_groups_are_the_official_ones(tiny):
    file, encoder = tiny
    points = file.cloud()
    centres, groups = encoder.tokens.group(points)
    for i, xyz in enumerate(points[..., :3]):
        chosen = torch.as_tensor(file.golden["fps_idx"][i].astype(np.int64))
        assert torch.equal(centres[i], xyz[chosen])
        official = torch.as_tensor(file.golden["knn_idx"][i].astype(np.int64)).sort(dim=1).values
        nearest, _ = point_ops.nearest(centres[i : i + 1], xyz[None], 64)
        assert torch.equal(nearest[0].sort(dim=1).values, official)
        assert torch.equal(groups[i, ..., 3:], points[i, nearest[0], 3:])
        assert torch.equal(groups[i, ..., :3], xyz[nearest[0]] - centres[i, :, None])
    # a rule of pointnet2_ops that the second cloud was made to show
    plain = point_ops.farthest_points(points[..., :3], 512)
    assert not np.array_equal(plain[1].numpy(), file.golden["fps_idx"][1])


@torch.no_grad()
@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        ("ti", torch.float64),
        ("s", torch.float32),
        pytest.param("s", torch.float64),
        pytest.param("b", torch.float32),
        pytest.param("b", torch.float64),
    ],
)
def test_sizes(shared, tmp_path, size, dtype):
    file = Official(shared, f"uni3d_{size}")
    encoder = point_encoder(file.name, str(file.save(tmp_path / "model.pt"))).eval().to(dtype)
    assert encoder.ignored == 1  # logit_scale
    assert file.close(encoder.embed(file.cloud(1).to(dtype)), "out", rows=slice(1))


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize("size", ["l", "g"])
def test_key_lists_of_the_large(shared, size):
    file = Official(shared, f"uni3d_{size}_names_only")
    zero = torch.zeros((), dtype=torch.float16)  # seen as any shape: g would be 2 GB
    weights = {entry["key"]: zero.expand(entry["shape"]) for entry in file.entries(every=True)}
    with torch.device("meta"):
        encoder = Uni3D(size)
    assert load_tower(encoder, {"module": weights}, encoder.layouts, "l.pt") == 1 + UNUSED[size]
    key = "point_encoder.visual.blocks.23.mlp.fc2.weight"
    weights[key] = weights[key][:, :-1]
    with pytest.raises(RunError, match=rf"l\.pt: '{key}' is \["):
        load_tower(encoder, {"module": weights}, encoder.layouts, "l.pt")
    del weights[key]
    with pytest.raises(RunError, match=rf"misses '{key}'"):
        load_tower(encoder, {"module": weights}, encoder.layouts, "l.pt")


def test_layouts(tiny, tmp_path):
    file, encoder = tiny
    assert encoder.ignored == 1 + UNUSED["ti"]
    half = {f"module.{key}": value.half() for key, value in file.weights().items()}
    for name, content in {"a.pt": {"module": half}, "b.pt": half}.items():
        torch.save(content, tmp_path / name)
        other = point_encoder("uni3d_ti", str(tmp_path / name))
        assert {value.dtype for value in other.parameters()} == {torch.float32}
        for key, value in other.state_dict().items():
            assert torch.equal(value, encoder.state_dict()[key].to(torch.float16).to(value.dtype)), key


@torch.no_grad()
def test_cloud_by_cloud_split_layer_and_plain_are_the_same():
    net = ColouredTokenizer().double().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    net.groups = 16
    _, groups = net.group(cloud(n=100).double())
    plain = PointTokenizer.forward(net, groups)
    assert torch.allclose(net(groups), plain, rtol=1e-12, atol=1e-12)
    with torch.enable_grad():
        assert torch.allclose(net(groups), plain, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def small():
    """The tiny one with fewer groups and random weights."""
    torch.manual_seed(0)
    encoder = Uni3D("ti").eval()
    encoder.tokens.groups = 24
    return encoder


@torch.no_grad()
def test_alone_or_in_a_batch(small):
    points = cloud(b=3)
    whole = small(points)
    assert whole.shape == (3, small.dim)
    bound = 5e-5 * float(whole.square().mean().sqrt())
    assert torch.allclose(small(points[1:2]), whole[1:2], rtol=0, atol=bound)
    assert not torch.allclose(whole[0], whole[1], rtol=0, atol=bound)


@torch.no_grad()
def test_without_colours_points_are_grey(small):
    xyz = cloud(b=1, colours=False)
    assert torch.equal(small(xyz), small.embed(torch.cat([xyz, torch.full_like(xyz, 0.4)], dim=2)))
    assert not torch.allclose(small(xyz), small(cloud(b=1)))


def test_patch_dropout_is_for_training():
    encoder = Uni3D("ti", patch_dropout=0.75)
    encoder.tokens.groups = 64
    seen = []
    encoder.blocks[0].register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].detach()))
    points = cloud(n=64)
    with torch.no_grad():
        encoder.train()(points)
        encoder(points)
        encoder.eval()(points)
    assert [x.shape[1] for x in seen] == [17, 17, 65]
    # others in each cloud and each time, none twice, the class token stays
    assert not torch.equal(seen[0][:, 1:], seen[1][:, 1:])
    assert torch.equal(seen[0][:, 0], seen[2][:, 0])
    kept = encoder._kept(2, 512)
    assert all(len(set(row)) == 128 for row in kept.tolist())
    assert not torch.equal(kept[0].sort().values, kept[1].sort().values)
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        Uni3D("ti", patch_dropout=1)


def test_it_can_be_trained():
    encoder = Uni3D("ti", patch_dropout=0.5, drop_path=0.2).train()
    encoder.tokens.groups = 16
    encoder(cloud(n=64, b=2)).square().mean().backward()
    without = [name for name, value in encoder.named_parameters() if value.grad is None]
    assert not without

"""OpenShape's PPAT against the official outputs, and against loops."""

import numpy as np
import pytest
import torch
from official_encoders import Official
from plain_layers import plain_batch_norm, plain_block, plain_norm, scramble

from cmah import point_ops
from cmah.data.point_clouds import normalise
from cmah.errors import RunError
from cmah.models.pretrained.foreign_weights import load_tower
from cmah.models.pretrained.openshape import SCALINGS, OpenShape, Scaling, build

pytestmark = pytest.mark.slow

SIZES = ("g14", "l14", "b32")
SMALL = Scaling(width=128, depth=2, hidden=256, patch_width=12, patches=6, radius=0.5, samples=8)


def cloud_of(n, seed=0, dtype=torch.float32):
    cloud = torch.rand(1, n, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    cloud[..., :3] -= 0.5
    return cloud


@pytest.fixture(scope="module", params=SIZES)
def loaded(request, shared, tmp_path_factory):
    official = Official(shared, f"openshape_ppat_{request.param}")
    encoder = build(f"openshape_{request.param}").eval()
    path = official.save(tmp_path_factory.mktemp("weights") / "file.pt", every=True)
    encoder.load(str(path))
    path.unlink()
    return official, encoder


@torch.no_grad()
def test_patches_equal_the_official_ones(loaded, monkeypatch):
    official, encoder = loaded
    calls = {}

    def recorded(name):
        real = getattr(point_ops, name)
        return lambda *args, **named: calls.setdefault(name, real(*args, **named))

    for name in ("farthest_points", "ball_query"):
        monkeypatch.setattr(point_ops, name, recorded(name))
    tokens = encoder.tokens(official.cloud())
    golden = official.golden
    assert torch.equal(calls["farthest_points"], torch.tensor(golden["fps_idx"]).long())
    assert torch.equal(calls["ball_query"], torch.tensor(golden["ball_idx"].astype(np.int64)))
    assert official.close(tokens[:, :48], "lift")


@torch.no_grad()
def test_equals_the_official_network(loaded):
    official, encoder = loaded
    assert encoder.ignored == 0
    seen = {}
    hooks = [
        encoder.blocks[0].register_forward_hook(
            lambda _, args, out: seen.update(block0_in=args[0][:, :48], block0_out=out[:, :48])
        ),
        encoder.blocks.register_forward_hook(lambda _, args, out: seen.update(feat=out[:, 0])),
    ]
    assert official.close(encoder.embed(official.cloud()), "out")
    for hook in hooks:
        hook.remove()
    for name, got in seen.items():
        assert official.close(got, name), name


@torch.no_grad()
def test_equals_the_official_network_in_float64(loaded):
    official, encoder = loaded
    encoder.double()
    try:
        assert official.close(encoder.embed(official.cloud(1).double()), "out", rows=slice(1))
    finally:
        encoder.float()


@torch.no_grad()
def test_house_clouds(loaded):
    """G14 takes y-up clouds by a swap of columns, which mirrors; L14 and B32 have y up themselves."""
    official, encoder = loaded
    cloud = official.cloud(1)
    own = cloud[..., [0, 2, 1, 3, 4, 5]] if official.name.endswith("g14") else cloud
    assert torch.equal(encoder(cloud), encoder.embed(own))
    bare = encoder.prepare(cloud[..., :3])
    assert torch.equal(bare[..., :3], own[..., :3])
    assert (bare[..., 3:] == 0.4).all()


def test_every_scaling_swaps_but_the_two_released_with_y_up():
    cloud = cloud_of(5)
    with torch.device("meta"):
        encoders = {name: build(f"openshape_{name}") for name in (*SCALINGS, *SIZES)}
    for name, encoder in encoders.items():
        axes = [0, 1, 2] if name in ("l14", "b32") else [0, 2, 1]
        assert torch.equal(encoder.prepare(cloud)[..., :3], cloud[..., axes]), name
        assert encoder.dim == {"l14": 768, "b32": 512}.get(name, 1280)


def test_parameters_of_the_published_scalings():
    """Millions, as the paper counts them with a projection to 1280."""
    published = {"s1": 5.10, "s2": 13.35, "s3": 25.95, "s4": 32.33, "s5": 72.07, "s6": 171.26}
    with torch.device("meta"):
        for name, millions in published.items():
            count = sum(p.numel() for p in build(f"openshape_{name}").parameters())
            assert round(count / 1e6, 2) == millions


def test_normalisation_is_the_authors(shared):
    """Those of ULIP, OpenShape and of Sbrolli and Matteucci are all the house's."""
    reference = np.load(shared / "goldens/ops/preprocess.npz", allow_pickle=False)
    own = normalise(reference["raw"])
    for name in ("ulip", "openshape", "sbrolli"):
        assert np.abs(own - reference[name]).max() <= 1e-7, name
    with torch.device("meta"):
        encoder = build("openshape_g14")
    turned = encoder.prepare(torch.tensor(own)[None])[0, :, :3].numpy()
    assert np.abs(turned - reference["openshape_from_y_up"]).max() <= 1e-7
    assert (
        normalise(reference["openshape_degenerate_raw"])
        == reference["openshape_degenerate"].astype(np.float32)
    ).all()


@torch.no_grad()
@pytest.mark.parametrize("joint", [0, 10])
def test_equals_loops(joint):
    encoder = scramble(OpenShape(SMALL, joint))
    cloud = cloud_of(30, dtype=torch.float64)
    points = cloud[0][:, [0, 2, 1, 3, 4, 5]]
    xyz = points[:, :3]
    picks = [0]
    while len(picks) < SMALL.patches:
        picks.append(int(torch.stack([(p - xyz[picks]).square().sum(1).min() for p in xyz]).argmax()))
    rows = [encoder.cls_token]
    for pick in picks:
        inside = [i for i in range(30) if (xyz[i] - xyz[pick]).square().sum() <= SMALL.radius**2]
        inside = (inside + [inside[0]] * SMALL.samples)[: SMALL.samples]
        features = []
        for i in inside:
            row = torch.cat([xyz[i] - xyz[pick], points[i]])
            for layer in (0, 3, 6):
                linear, norm = encoder.patch[layer], encoder.patch[layer + 1]
                row = plain_batch_norm(norm, linear.weight @ row + linear.bias).clamp_min(0)
            features.append(row)
        lifted = encoder.lift[0].weight @ torch.cat([xyz[pick], torch.stack(features).amax(0)])
        rows.append(plain_norm(encoder.lift[1], lifted + encoder.lift[0].bias))
    x = torch.stack(rows)
    for block in encoder.blocks:
        x = plain_block(block, x, heads=2)
    expected = x[0]
    if joint:
        expected = encoder.projection.weight @ expected + encoder.projection.bias
    assert torch.allclose(encoder(cloud)[0], expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_cloud_alone_equals_the_cloud_in_a_batch():
    encoder = build("openshape_b32").eval()
    cloud = torch.cat([cloud_of(500, seed) for seed in range(3)])
    batch, alone = encoder(cloud), encoder(cloud[1:2])
    assert (batch[1:2] - alone).abs().max() <= 1e-5 * alone.square().mean().sqrt()
    assert torch.equal(encoder(cloud), batch)


def test_training_needs_no_other_way():
    """Gradients reach every parameter, and training mode takes the whole batch at once."""
    torch.manual_seed(0)
    encoder = OpenShape(SMALL, 10).train()
    out = encoder(torch.cat([cloud_of(60, seed) for seed in range(3)]))
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_layouts(shared, size):
    """Half precision, and the layouts of the others' files: state_dict or top level, any of the prefixes."""
    official = Official(shared, f"openshape_ppat_{size}")
    encoder, weights = build(f"openshape_{size}"), official.weights()
    before = official.layout["prefix"]
    for prefix in ("module.", "", "pc_encoder."):
        renamed = {prefix + key.removeprefix(before): value.half() for key, value in weights.items()}
        for content in (renamed | {"logit_scale": torch.ones(())}, {"state_dict": renamed, "epoch": 3}):
            torch.nn.init.zeros_(encoder.lift[0].weight)
            ignored = load_tower(encoder, content, encoder.layouts, "f")
            assert ignored == ("logit_scale" in content)
            key = next(key for key in weights if key.endswith("lift.0.weight"))
            assert torch.equal(encoder.lift[0].weight, weights[key].half().float()[..., 0])


@pytest.mark.parametrize("size", SIZES)
def test_every_key_of_the_tower_must_fit(shared, size):
    official = Official(shared, f"openshape_ppat_{size}")
    encoder, weights = build(f"openshape_{size}"), official.weights(filled=False)
    for end in ("cls_token", "sa.mlp_bns.2.running_mean", "transformer.layers.11.1.fn.net.3.weight"):
        key = next(key for key in weights if key.endswith(end))
        for change, what in (
            ({k: v for k, v in weights.items() if k != key}, f"misses '{key}'"),
            (weights | {key: weights[key][..., :-1]}, f"'{key}' is"),
            (weights | {f"{key}.more": torch.ones(2)}, f"unexpected '{key}.more'"),
        ):
            with pytest.raises(RunError, match=what):
                load_tower(encoder, official.checkpoint(change), encoder.layouts, "file.pt")
    for other in set(SIZES) - {size}:
        wrong = build(f"openshape_{other}")
        with pytest.raises(RunError, match="encoder"):
            load_tower(wrong, official.checkpoint(weights), wrong.layouts, "file.pt")

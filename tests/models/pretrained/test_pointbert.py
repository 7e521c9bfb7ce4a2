"""Point-BERT, ULIP, ULIP-2 and Point-MAE against the official outputs, and against loops."""

import numpy as np
import pytest
import torch
from official_encoders import Official
from plain_layers import plain_batch_norm, plain_block, plain_norm, scramble

from cmah.errors import RunError
from cmah.models.pretrained import pointbert, pointmae
from cmah.models.pretrained.foreign_weights import load_tower
from cmah.models.tokenizers import take

pytestmark = pytest.mark.slow

# official name → (encoder, tensors of the file that are not its own)
FILES = {
    "pointbert_modelnet": ("pointbert", 4),
    "pointbert_pretrain": ("pointbert", 251),
    "pointmae_pretrain": ("pointmae", 53),
    "ulip1_pointbert": ("ulip1_pointbert", 301),
    "ulip2_pointbert_colored": ("ulip2", 975),
}


def build(name):
    return (pointmae if name == "pointmae" else pointbert).build(name).eval()


@pytest.fixture(scope="module", params=FILES)
def loaded(request, shared, tmp_path_factory):
    """An official encoder and ours, loaded from the whole published file."""
    official = Official(shared, request.param)
    encoder = build(FILES[request.param][0])
    path = official.save(tmp_path_factory.mktemp("weights") / "file.pt", every=True)
    encoder.load(str(path))
    path.unlink()
    return official, encoder


def test_the_rest_of_the_file_is_counted(loaded):
    official, encoder = loaded
    assert encoder.ignored == FILES[official.name][1]
    tower = len(encoder.state_dict())
    assert encoder.ignored == len(official.entries(every=True)) - tower


@torch.no_grad()
def test_groups_equal_the_official_ones(loaded):
    official, encoder = loaded
    cloud, golden = official.cloud(), official.golden
    centres, groups = encoder.tokenizer.group(cloud)
    assert torch.equal(centres, torch.tensor(golden["centers"]))
    rows = torch.arange(2)[:, None]
    assert torch.equal(cloud[rows, torch.tensor(golden["fps_idx"]).long()][..., :3], centres)
    expected = cloud[rows[..., None], torch.tensor(golden["knn_idx"].astype(np.int64))]
    expected[..., :3] -= centres[:, :, None]
    # as sets: the order within a group is free
    key = torch.rand(cloud.shape[-1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal((groups @ key.float()).sort(2).values, (expected @ key.float()).sort(2).values)


@torch.no_grad()
def test_equals_the_official_network(loaded):
    official, encoder = loaded
    seen = {}
    block, norm = encoder.encoder.blocks[0], encoder.encoder.norm
    hooks = [
        block.register_forward_hook(lambda _, args, out: seen.update(block0_in=args[0], block0_out=out)),
        norm.register_forward_hook(lambda _, args, out: seen.update(norm_out=out)),
    ]
    if official.name == "pointmae_pretrain":
        assert official.close(encoder.encode(official.cloud()), "encoder_all")
        seen.clear()  # the official ones are of the visible tokens
    else:
        assert official.close(encoder.embed(official.cloud()), "out")
    for hook in hooks:
        hook.remove()
    for name, got in seen.items():
        rows = official.golden[name].shape[1]
        assert official.close(got[:, :rows], name), name


@torch.no_grad()
def test_equals_the_official_network_in_float64(loaded):
    official, encoder = loaded
    encoder.double()
    cloud = official.cloud(1).double()
    try:
        if official.name == "pointmae_pretrain":
            centres, groups = encoder.tokenizer.group(cloud)
            visible = torch.tensor(~official.golden["mask"][0]).nonzero().T
            tokens = encoder.tokenizer(groups)
            encoded = encoder.encoder(take(tokens, visible), encoder.position(take(centres, visible)))
            assert official.close(tokens, "tokens", rows=slice(1))
            assert official.close(encoded, "encoder_visible", rows=slice(1))
        else:
            assert official.close(encoder.embed(cloud), "out", rows=slice(1))
    finally:
        encoder.float()


@torch.no_grad()
@pytest.mark.parametrize("name", ["pointbert", "pointmae"])
def test_a_cloud_alone_equals_the_cloud_in_a_batch(name):
    encoder = build(name)
    cloud = torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(0))
    batch, alone = encoder(cloud), encoder(cloud[1:2])
    assert (batch[1:2] - alone).abs().max() <= 1e-5 * alone.square().mean().sqrt()
    assert torch.equal(encoder(cloud), batch)


def test_pointmae_features_are_mean_and_maximum():
    encoder = build("pointmae")
    cloud = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens, features = encoder.encode(cloud), encoder(cloud)
    assert tokens.shape == (2, 64, 384)
    assert torch.equal(features, torch.cat([tokens.mean(1), tokens.amax(1)], 1))


@pytest.mark.parametrize("colours", [False, True])
def test_input(colours):
    encoder = pointbert.PointBert(4, 1, 64, colours=colours)
    six = torch.rand(1, 64, 6, generator=torch.Generator().manual_seed(0))
    three = six[..., :3]
    if colours:
        assert torch.equal(encoder.prepare(six), six)
        grey = encoder.prepare(three)
        assert torch.equal(grey[..., :3], three)
        assert (grey[..., 3:] == 0.4).all()
    else:
        assert torch.equal(encoder.prepare(six), three)
        assert torch.equal(encoder.prepare(three), three)


@torch.no_grad()
def test_equals_loops():
    """A small coloured one with a projection: sampling, token net, positions, blocks, pooling in loops."""
    encoder = scramble(pointbert.PointBert(5, 2, 64, colours=True, joint=7))
    cloud = torch.rand(1, 40, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cloud[..., :3] += 0.3
    cloud[0, 7, :3] = torch.tensor([0.01, 0.02, 0.0])  # far from all others, but never a centre
    xyz, colour = cloud[0, :, :3], cloud[0, :, 3:]
    picks = [0]
    while len(picks) < 5:
        least = [min((point - xyz[p]).square().sum() for p in picks) for point in xyz]
        far = [d if p.square().sum() > 1e-3 else torch.tensor(-1.0) for d, p in zip(least, xyz, strict=True)]
        picks.append(int(torch.stack([d.double() for d in far]).argmax()))
    first, second = encoder.tokenizer.first, encoder.tokenizer.second
    tokens, positions = [encoder.cls_token[0, 0]], [encoder.cls_position[0, 0]]
    for pick in picks:
        order = sorted(range(40), key=lambda i: float((xyz[i] - xyz[pick]).square().sum()))[:32]
        local = []
        for i in order:
            row = torch.cat([xyz[i] - xyz[pick], colour[i]])
            row = plain_batch_norm(first[1], first[0].weight @ row + first[0].bias).clamp_min(0)
            local.append(first[3].weight @ row + first[3].bias)
        largest = torch.stack(local).amax(0)
        rows = []
        for row in local:
            wide = second[0].weight @ torch.cat([largest, row]) + second[0].bias
            rows.append(second[3].weight @ plain_batch_norm(second[1], wide).clamp_min(0) + second[3].bias)
        tokens.append(encoder.reduce(torch.stack(rows).amax(0)))
        positions.append(encoder.position(xyz[pick]))
    x, positions = torch.stack(tokens), torch.stack(positions)
    for block in encoder.encoder.blocks:
        x = plain_block(block, x + positions, heads=6)
    x = torch.stack([plain_norm(encoder.encoder.norm, row) for row in x])
    expected = torch.cat([x[0], x[1:].amax(0)]) @ encoder.projection
    assert torch.allclose(encoder(cloud)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["pointbert_pretrain", "pointmae_pretrain"])
def test_layouts(shared, name):
    """Needed tensors only, without "module.", in half precision, as a plain state dict: the same weights."""
    official = Official(shared, name)
    encoder, other = build(FILES[name][0]), build(FILES[name][0])
    weights = official.weights()
    load_tower(encoder, official.checkpoint(weights), encoder.layouts, "f")
    half = {key.removeprefix("module."): value.half() for key, value in weights.items()}
    for content in (official.checkpoint(half), half):
        load_tower(other, content, other.layouts, "f")
        for key, value in other.state_dict().items():
            assert value.dtype == encoder.state_dict()[key].dtype
            assert torch.equal(value, encoder.state_dict()[key].half().to(value.dtype)), key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("pointbert_modelnet", "module.cls_pos"),
        ("pointbert_pretrain", "module.transformer_q.blocks.blocks.11.attn.qkv.weight"),
        ("pointmae_pretrain", "module.MAE_encoder.encoder.first_conv.1.running_var"),
        ("ulip1_pointbert", "module.pc_projection"),
    ],
)
def test_every_key_of_the_tower_must_fit(shared, name, key):
    official = Official(shared, name)
    encoder, weights = build(FILES[name][0]), official.weights(filled=False)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    for change, what in (
        ({k: v for k, v in weights.items() if k != key}, f"misses '{key}'"),
        (weights | {key: weights[key][..., :-1]}, f"'{key}' is"),
        (weights | {f"{key}.more": torch.ones(2)}, f"unexpected '{key}.more'"),
    ):
        with pytest.raises(RunError, match=what):
            load_tower(encoder, official.checkpoint(change), encoder.layouts, "file.pt")
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_files_of_other_encoders_are_refused(shared):
    """Twelve blocks are not eighteen, three columns not six, and Point-MAE is not Point-BERT."""
    for name, wrong in (
        ("ulip1_pointbert", "ulip2"),
        ("ulip2_pointbert_colored", "ulip1_pointbert"),
        ("pointmae_pretrain", "pointbert"),
        ("pointbert_pretrain", "pointmae"),
        ("pointbert_modelnet", "ulip1_pointbert"),
    ):
        official = Official(shared, name)
        encoder = build(wrong)
        with pytest.raises(RunError, match="encoder"):
            load_tower(encoder, official.checkpoint(official.weights(filled=False)), encoder.layouts, "f")

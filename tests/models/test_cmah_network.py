"""Tokenizer, encoder, decoder and Chamfer loss against Point-MAE's official outputs.

With the fusion block left out, the shape half of CMAH is Point-MAE: the same weights give the same numbers.
"""

import importlib.util
import json

import numpy as np
import pytest
import torch

from cmah.losses.reconstruction import group_loss
from cmah.models.decoders import PointDecoder
from cmah.models.encoders import TokenEncoder
from cmah.models.tokenizers import PointTokenizer, position_mlp, take

NAMES = {
    "tokenizer": {
        "first.0": "MAE_encoder.encoder.first_conv.0",
        "first.1": "MAE_encoder.encoder.first_conv.1",
        "first.3": "MAE_encoder.encoder.first_conv.3",
        "second.0": "MAE_encoder.encoder.second_conv.0",
        "second.1": "MAE_encoder.encoder.second_conv.1",
        "second.3": "MAE_encoder.encoder.second_conv.3",
    },
    "position": {"": "MAE_encoder.pos_embed."},
    "encoder": {"blocks.": "MAE_encoder.blocks.blocks.", "norm.": "MAE_encoder.norm."},
    "decoder": {
        "mask_token": "mask_token",
        "position.": "decoder_pos_embed.",
        "encoder.blocks.": "MAE_decoder.blocks.",
        "encoder.norm.": "MAE_decoder.norm.",
        "predict.": "increase_dim.0.",
    },
}


def load(module, names, official):
    """Fill a module with official weights, by prefix."""
    state = {}
    for key, value in module.state_dict().items():
        own = max((prefix for prefix in names if key.startswith(prefix)), key=len)
        state[key] = official[names[own] + key[len(own) :]].reshape(value.shape)
    module.load_state_dict(state)
    return module.double().eval()


@pytest.fixture(scope="module")
def pointmae(shared):
    folder = shared / "goldens"
    spec = importlib.util.spec_from_file_location("fill", folder / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    entries = json.loads((folder / "encoders/pointmae_pretrain/names.json").read_text())["entries"]
    official = {e["name"]: torch.tensor(fill.fill(e["name"], e["shape"])) for e in entries}
    parts = {
        "tokenizer": PointTokenizer(64, 32, 256, 384),
        "position": position_mlp(384),
        "encoder": TokenEncoder(384, 12, 6, qkv_bias=False),
        "decoder": PointDecoder(32, 384, 384, 4, 6),
    }
    for name, part in parts.items():
        load(part, NAMES[name], official)
    golden = np.load(folder / "encoders/pointmae_pretrain/golden.npz", allow_pickle=False)
    clouds = np.load(folder / "clouds.npz", allow_pickle=False)["D"]
    return parts, golden, torch.tensor(clouds)


def close(got, golden, name):
    """Float64 here: within 1e-9 of the root mean square of a float64 output, else 5e-5 of a float32 one."""
    double = f"{name}_f64" in golden.files
    expected = torch.as_tensor(golden[f"{name}_f64" if double else name]).double()
    return (got - expected).abs().max() <= (1e-9 if double else 5e-5) * expected.square().mean().sqrt()


@pytest.mark.slow
@torch.no_grad()
def test_equals_the_official_outputs(pointmae):
    parts, golden, clouds = pointmae
    # the official farthest-point sampling skips points near the origin: its centres are given here
    centres = torch.tensor(golden["centers"])
    neighbours = torch.tensor(golden["knn_idx"]).long()
    centres = centres.double()
    groups = clouds.double()[torch.arange(2)[:, None, None], neighbours] - centres[:, :, None]
    tokens = parts["tokenizer"](groups)
    assert close(tokens, golden, "tokens")
    mask = torch.tensor(golden["mask"]).bool()
    visible = torch.stack([(~row).nonzero()[:, 0] for row in mask])
    masked = torch.stack([row.nonzero()[:, 0] for row in mask])
    encoded = parts["encoder"](take(tokens, visible), parts["position"](take(centres, visible)))
    assert close(encoded, golden, "encoder_visible")
    assert close(parts["encoder"](tokens, parts["position"](centres)), golden, "encoder_all")
    rebuilt = parts["decoder"](encoded, take(centres, visible), take(centres, masked))
    assert close(rebuilt, golden, "rebuild")
    loss = group_loss(rebuilt, take(groups, masked))
    assert loss.item() == pytest.approx(float(golden["loss_cd_l2"]), rel=1e-5)


@torch.no_grad()
def test_groups_equal_the_official_ones(pointmae):
    """Where no point lies near the origin, our sampling is the official one; neighbours as sets."""
    parts, golden, clouds = pointmae
    near = (clouds.square().sum(2) <= 1e-3).any(1)
    assert not near.all()
    for i in (~near).nonzero()[:, 0].tolist():
        centres, groups = parts["tokenizer"].group(clouds[i : i + 1])
        assert torch.equal(centres[0], torch.tensor(golden["centers"][i]))
        found = (groups + centres[:, :, None])[0]
        for g in range(64):
            expected = {
                tuple(p)
                for p in (clouds[i][golden["knn_idx"][i, g]] - centres[0, g] + centres[0, g]).tolist()
            }
            assert {tuple(p) for p in found[g].tolist()} == expected

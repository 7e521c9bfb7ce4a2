"""SLIP's two towers from a ULIP checkpoint, against plain restatements of its authors' formulas."""

import math
import re

import open_clip
import pytest
import timm
import torch
from official_encoders import Official, _fill
from torch.nn import functional

from cmah.errors import ConfigError, RunError
from cmah.models.pretrained import image_towers, point_encoder, slip, text_towers
from cmah.models.pretrained.backbone_spec import BackboneSpec, weights_file
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.pretrained.text_towers import TextEncoder, has_text
from cmah.recipes.prealigned import PrealignedRecipe
from cmah.recipes.resolving import make_config

pytestmark = pytest.mark.slow

NAME = "slip:ViT-B-16"
TEXTS = ["a point cloud model of a chair", "A photo of an aeroplane, from above!", ""]


@pytest.fixture(scope="module")
def official(shared):
    return Official(shared, "ulip1_pointbert")


@pytest.fixture(scope="module")
def weights(official):
    """Every tensor of a ULIP checkpoint, under its name without "module."."""
    fill = _fill(official.goldens / "fill.py")
    return {e["name"]: torch.tensor(fill(e["name"], e["shape"])) for e in official.entries(every=True)}


@pytest.fixture(scope="module")
def checkpoint(official, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("ulip") / "ulip.pt"
    official.save(path, {f"module.{key}": value for key, value in weights.items()})
    yield str(path)
    path.unlink()  # 700 MB, which pytest would keep


@pytest.fixture(scope="module")
def tower(checkpoint):
    tower = ImageBackbone(BackboneSpec.parse(NAME)).eval()
    tower.load(checkpoint)
    return tower


@pytest.fixture(scope="module")
def text(checkpoint):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_towers, "BATCH", 3)
        yield TextEncoder(NAME, checkpoint)


def close(got, expected, bound=5e-5):
    assert got.shape == expected.shape
    return bool((got - expected).abs().max() <= bound * expected.square().mean().sqrt())


def test_every_tensor_of_a_ulip_checkpoint_is_accounted_for(official, tower, text, checkpoint):
    beside = {e["name"] for e in official.entries(every=True) if not e["needed"]}
    image_keys = set(tower.net.state_dict())
    text_keys = {key for key in text.net.state_dict() if not key.startswith(slip.NOT_TEXT)}
    assert len(beside) == 300
    assert beside == image_keys | text_keys
    assert not image_keys & text_keys
    shape = point_encoder("ulip1_pointbert", checkpoint)
    assert shape.ignored == len(beside) + 1  # logit_scale
    assert shape.dim == tower.dim == text.dim == 512


@torch.no_grad()
def test_image_tower_equals_timm_and_a_projection(tower, weights):
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    net = timm.create_model("vit_base_patch16_224", num_classes=0).eval()
    net.load_state_dict({key[7:]: value for key, value in weights.items() if key.startswith("visual.")})
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    expected = net((pixels - mean) / std) @ weights["image_projection"]
    got = tower(pixels)
    assert got.shape == (2, 512)
    assert close(got, expected)
    assert not close(got[:1], got[1:], 0.05)


def test_pixels(tower):
    assert (tower.size, tower.default_size, tower.interpolation) == (224, 224, "bilinear")
    assert tower.preprocessing == (
        "squares of 224 px (bicubic), mean 0.485000014,0.456,0.405999988, std 0.229000002,0.224000007,0.224999994"
    )


def plain_text(weights, ids):
    """SLIP's text tower restated in float64, one text without what follows its end: [512]."""
    w = {key: value.double() for key, value in weights.items() if not key.startswith(("visual.", "point_"))}

    def norm(x, name):
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["token_embedding.weight"][ids] + w["positional_embedding"][: len(ids)]
    for i in range(12):
        block = f"transformer.resblocks.{i}"
        y = norm(x, f"{block}.ln_1") @ w[f"{block}.attn.in_proj_weight"].T + w[f"{block}.attn.in_proj_bias"]
        heads = []
        for q, k, v in zip(*(part.split(64, -1) for part in y.split(512, -1)), strict=True):
            scores = q @ k.T / math.sqrt(64)
            later = torch.ones(len(ids), len(ids)).triu(1).bool()
            heads.append(scores.masked_fill(later, -math.inf).softmax(-1) @ v)
        x = x + torch.cat(heads, -1) @ w[f"{block}.attn.out_proj.weight"].T + w[f"{block}.attn.out_proj.bias"]
        y = norm(x, f"{block}.ln_2") @ w[f"{block}.mlp.c_fc.weight"].T + w[f"{block}.mlp.c_fc.bias"]
        y = y * torch.sigmoid(1.702 * y)
        x = x + y @ w[f"{block}.mlp.c_proj.weight"].T + w[f"{block}.mlp.c_proj.bias"]
    return norm(x, "ln_final")[-1] @ w["text_projection"]


@torch.no_grad()
def test_text_tower_equals_a_plain_restatement(text, weights):
    tokens = text.tokenize(TEXTS)
    assert tokens.shape == (3, 77)
    assert tokens[1, :5].tolist() == [49406, 320, 1125, 539, 550]  # start, "a photo of an"
    assert torch.equal(tokens, open_clip.get_tokenizer("ViT-B-16")(TEXTS))
    assert (tokens == 49407).sum(1).tolist() == [1, 1, 1]  # the end is the largest id
    ends = tokens.argmax(1)
    expected = torch.stack(
        [plain_text(weights, row[: end + 1]) for row, end in zip(tokens, ends, strict=True)]
    )
    assert close(text.net.encode_text(tokens).double(), expected)
    got = torch.from_numpy(text.encode(TEXTS)).double()
    assert close(got, functional.normalize(expected, dim=1))


def test_slips_own_file_and_what_does_not_fit(weights, tower, text, monkeypatch):
    own = {key: value for key, value in weights.items() if not key.startswith(("point_encoder.", "pc_"))}
    file = {
        **own,
        "image_mlp.layer1.weight": torch.ones(2, 2),
        "image_mlp.bn1.num_batches_tracked": torch.tensor(1),
    }
    for module in (image_towers, text_towers):
        monkeypatch.setattr(module, "read_weights", lambda _: file)
    tower.load("slip.pt")
    text._load("slip.pt")
    for key in ("image_projection", "text_projection"):
        loader = tower.load if key.startswith("image") else text._load
        value = file.pop(key)
        with pytest.raises(RunError, match=f"^ulip.pt: misses '{key}'"):
            loader("ulip.pt")
        file[key] = value
    for extra, loader in (("visual.head.weight", tower.load), ("text_head", text._load)):
        file[extra] = torch.ones(2)
        with pytest.raises(RunError, match=f"has an unexpected '{extra}'"):
            loader("ulip.pt")
        del file[extra]
    file = {key: value for key, value in weights.items() if key.startswith(("point_encoder.", "pc_"))}
    with pytest.raises(RunError, match="holds no text tower"):
        text._load("ulip.pt")
    with pytest.raises(RunError, match=r"misses 'image_projection'|misses 'visual"):
        tower.load("ulip.pt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slip:ViT-L-16", "expected slip:ViT-B-16"),
        ("slip:", "expected timm:NAME, open_clip:NAME or slip:ViT-B-16"),
        (f"{NAME}?force_quick_gelu=True", "unknown option force_quick_gelu"),
    ],
)
def test_names_and_options(name, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        BackboneSpec.parse(name)


def test_nothing_is_downloaded():
    assert has_text(NAME)
    assert not has_text("timm:resnet18")
    assert BackboneSpec.parse(f"{NAME}?mean=0.5").options == {"mean": 0.5}
    with pytest.raises(ConfigError, match="no library lists weights of it; give a ULIP checkpoint"):
        weights_file(NAME, "download:openai")


def test_recipe_takes_the_pair_as_aligned(checkpoint):
    settings = {
        "model.shape_encoder": "ulip1_pointbert", "model.shape_weights": checkpoint,
        "model.image_encoder": NAME, "model.image_weights": checkpoint, "training.epochs": "0", "model.bits": "16",
    }  # fmt: skip
    method = PrealignedRecipe(
        make_config("prealigned", assignments=[f"{key}={value}" for key, value in settings.items()])
    )
    assert method.network.aligned
    assert method.network.dim == 512
    assert not [remark for remark in method.remarks if "was aligned with" in remark]

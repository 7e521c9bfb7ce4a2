"""Averages of stages beside an embedding, against running the parts of the network one after the other."""

import threading

import numpy as np
import pytest
import torch

from cmah.errors import ConfigError
from cmah.features.image_embedder import ImageEmbedder
from cmah.features.tower_features import tower_key
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.pretrained.text_towers import has_text, require_text
from cmah.models.staged_backbone import StagedBackbone


def backbone(encoder, size=64, seed=0):
    torch.manual_seed(seed)
    return ImageBackbone(BackboneSpec.parse(encoder), size).eval()


def pair(name, count, size=64):
    """An encoder without and with the option, of the same random weights."""
    joint = "&" if "?" in name else "?"
    return backbone(name, size), backbone(f"{name}{joint}stages={count}", size)


def standardised(tower, images):
    return (images - tower.mean) / tower.std


def of_resnet(net, x):
    x = net.maxpool(net.act1(net.bn1(net.conv1(x))))
    maps = []
    for layer in (net.layer1, net.layer2, net.layer3):
        x = layer(x)
        maps.append(x)
    return maps


def of_mobilenet(net, x):
    x = net.bn1(net.conv_stem(x))
    maps = []
    for block in net.blocks:
        x = block(x)
        maps.append(x)
    return maps


def of_convnext(net, x):
    x = net.stem(x)
    maps = []
    for stage in net.stages[:-1]:
        x = stage(x)
        maps.append(x)
    return maps


def of_vit(net, x):
    """Tokens of patches as maps; the class token is what timm's own way leaves out too."""
    return net.forward_intermediates(x, intermediates_only=True)[:-1]


def of_swin(net, x):
    return net.forward_intermediates(x, intermediates_only=True, output_fmt="NCHW")[:-1]


SWIN = "swin_tiny_patch4_window7_224?img_size=64&window_size=2&embed_dim=24&depths=1,1,1,1&num_heads=1,2,4,8"
NETWORKS = [
    ("timm:test_resnet", 2, of_resnet),
    ("timm:test_resnet", 3, of_resnet),
    ("timm:mobilenetv2_035", 4, of_mobilenet),
    ("timm:mobilenetv2_035", 7, of_mobilenet),
    ("timm:test_efficientnet", 2, of_mobilenet),
    ("timm:test_convnext", 3, of_convnext),
    ("timm:test_vit?img_size=64", 3, of_vit),
    ("timm:test_vit2?img_size=64", 2, of_vit),  # with register tokens
    (f"timm:{SWIN}", 3, of_swin),
]


@pytest.mark.parametrize(("name", "count", "maps"), NETWORKS, ids=[f"{n[5:20]}-{c}" for n, c, _ in NETWORKS])
def test_averages_of_the_last_stages_then_the_embedding(name, count, maps):
    plain, staged = pair(name, count)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = [each.mean((2, 3)) for each in maps(plain.net, standardised(plain, images))[-count:]]
        embedding, got = plain(images), staged(images)
    assert staged.widths == (*(each.shape[1] for each in wanted), plain.dim)
    assert staged.dim == sum(staged.widths) == got.shape[1]
    assert plain.widths == (plain.dim,)
    *blocks, last = got.split(staged.widths, dim=1)
    assert torch.equal(last, embedding)
    for block, each in zip(blocks, wanted, strict=True):
        torch.testing.assert_close(block, each, rtol=1e-5, atol=1e-6)


def test_the_network_runs_once_and_keeps_nothing():
    _, staged = pair("timm:test_resnet", 3)
    runs = []
    staged.net.layer1.register_forward_hook(lambda *_: runs.append(1))
    hooks = len(staged.net.layer1._forward_hooks)
    first = staged(torch.rand(1, 3, 64, 64))
    assert len(runs) == 1
    assert len(staged.net.layer1._forward_hooks) == hooks
    first.sum().backward()  # a tower that is trained learns from its stages too
    assert all(each.grad is not None for each in staged.net.layer1.parameters())


def test_threads_do_not_mix_their_images():
    """Another thread's image in the midst of this one's pass changes nothing."""
    _, staged = pair("timm:test_resnet", 3)
    mine, other = torch.zeros(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted = staged(mine)

        def interrupt(*_):
            handle.remove()
            thread = threading.Thread(target=lambda: staged.net(other))
            thread.start()
            thread.join()

        handle = staged.net.layer4.register_forward_hook(interrupt)
        assert torch.equal(staged(mine), wanted)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("timm:test_resnet?stages=4", "encoder timm:test_resnet: stages=4: it has 3 before its last layer$"),
        (
            "timm:mobilenetv2_035?stages=8",
            "encoder timm:mobilenetv2_035: stages=8: it has 7 before its last layer$",
        ),
        ("timm:test_vit?stages=9", r"encoder timm:test_vit: stages=9: it has \d before its last layer$"),
        (
            "timm:pit_ti_224?stages=1",
            "stages=1: its stages cannot be told apart .expected a network of stages",
        ),
        ("timm:crossvit_tiny_240?stages=1", "stages=1: its stages cannot be told apart"),
        *((f"timm:test_resnet?stages={value}", "expected a whole number, 1 or more") for value in (0, -1)),
        *(
            (f"timm:test_resnet?stages={value}", "expected a whole number, 1 or more")
            for value in ("x", "True")
        ),
        ("slip:ViT-B-16?stages=1.5", "expected a whole number, 1 or more"),
    ],
)
def test_stages_that_there_are_not(encoder, message):
    with pytest.raises(ConfigError, match=message) as caught:
        backbone(encoder, 0)
    assert "\n" not in str(caught.value)


def test_open_clips_own_vision_transformer(tiny_clip):
    import open_clip

    open_clip.add_model_config(_deeper_clip(tiny_clip[1]))
    plain, staged = pair("open_clip:deeper-clip", 2, 32)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        listed = plain.net.forward_intermediates(standardised(plain, images), intermediates_only=True)
        wanted = [each.mean((2, 3)) for each in listed["image_intermediates"][:-1]]
        got, embedding = staged(images), plain(images)
    assert staged.widths == (64, 64, 32)
    torch.testing.assert_close(got[:, :128], torch.cat(wanted, 1), rtol=1e-5, atol=1e-6)
    assert torch.equal(got[:, 128:], embedding)


def _deeper_clip(weights):
    import json
    from pathlib import Path

    path = Path(weights).with_name("tiny-clip.json")
    config = json.loads(path.read_text())
    config["vision_cfg"]["layers"] = 3
    deeper = path.with_name("deeper-clip.json")
    deeper.write_text(json.dumps(config))
    return deeper


@pytest.mark.slow
def test_other_towers_of_open_clip_and_slip():
    """ResNets with attention pooling, timm's networks within open_clip (here their last stage has a layer behind)."""
    assert backbone("open_clip:RN50?stages=3").widths == (512, 1024, 2048, 1024)
    assert backbone("open_clip:MobileCLIP-S1?stages=2").widths[:-1] == (256, 512)
    assert backbone("slip:ViT-B-16?stages=2").widths == (768, 768, 512)


def test_weights_load_as_without_the_option(tmp_path):
    plain, staged = pair("timm:test_resnet", 2)
    other = backbone("timm:test_resnet", seed=1)
    torch.save(other.net.state_dict(), tmp_path / "weights.pt")
    staged.load(str(tmp_path / "weights.pt"))
    assert plain.state_dict().keys() == staged.state_dict().keys()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(staged(images)[:, -other.dim :], other(images))


def test_caches_are_apart(tmp_path):
    plain, staged = pair("timm:test_resnet", 2)
    fewer = backbone("timm:test_resnet?stages=1")
    assert len({tower_key(tower) for tower in (plain, staged, fewer)}) == 3
    assert "widths" not in vars(plain)  # the key of before, which depends on all such numbers
    torch.save(plain.net.state_dict(), tmp_path / "weights.pt")
    embedders = [
        ImageEmbedder(f"timm:test_resnet{option}", str(tmp_path / "weights.pt"), cache=tmp_path)
        for option in ("", "?stages=1", "?stages=2")
    ]
    assert len({embedder.key for embedder in embedders}) == 3
    assert [embedder.dim for embedder in embedders] == [tower.dim for tower in (plain, fewer, staged)]


def test_no_texts_and_no_cut_beside_stages():
    encoder = "open_clip:ViT-B-32?stages=2"
    assert not has_text(encoder)
    with pytest.raises(ConfigError, match=r"shares no space with texts: stages=2 .* without that option$"):
        require_text(encoder)
    with pytest.raises(
        ConfigError, match=r"encoder timm:test_resnet: stages=2 is for encoders that are not cut"
    ):
        StagedBackbone(BackboneSpec.parse("timm:test_resnet?stages=2"))


@pytest.mark.slow
def test_published_mobilenet(shared):
    path = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    if not path.is_file():
        pytest.skip("no weights of MobileNetV2")
    name = "timm:mobilenetv2_100?pad_type=same&mean=0.5&std=0.5"
    plain, staged = pair(name, 4, 128)
    for tower in (plain, staged):
        tower.load(str(path))
    assert staged.widths == (64, 96, 160, 320, 1280)
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got, embedding = staged(images), plain(images)
        maps = of_mobilenet(plain.net, standardised(plain, images))[-4:]
    assert torch.equal(got[:, -1280:], embedding)
    wanted = np.concatenate([each.double().mean((2, 3)).numpy() for each in maps], axis=1)
    np.testing.assert_allclose(got[:, :640].numpy(), wanted, atol=1e-5)

"""The CMAH recipe: its parts, its switches, and that every parameter learns."""

import math

import pytest
import torch
from toy_dataset import MICRO

from cmah.data.dataset import Dataset
from cmah.errors import ConfigError
from cmah.losses.contrastive import nested_info_nce
from cmah.models.cmah_network import turned
from cmah.models.encoders import TokenEncoder
from cmah.recipes.resolving import load_recipe, make_config, recipe_names


def method(*settings, seed=0):
    torch.manual_seed(seed)
    config = make_config("cmah", "tiny", assignments=[*MICRO, *settings])
    return load_recipe("cmah")(config)


def batch(b=6, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(0, 256, (b, 3, 16, 16), generator=rng, dtype=torch.uint8),
        "points": torch.randn(b, 32, 3, generator=rng) * 0.3,
        "index": torch.arange(b),
    }


def loss_of(recipe, inputs=None, seed=2):
    recipe.model.eval()  # batch norms with fixed statistics, no dropout
    total, parts = recipe.loss(inputs or batch(), torch.Generator().manual_seed(seed))
    return total.item(), {name: part.item() for name, part in parts.items()}


def test_recipes_are_found_by_file():
    assert "cmah" in recipe_names()
    with pytest.raises(ConfigError, match="cmah"):
        load_recipe("no_such_method")
    with pytest.raises(ConfigError, match="expected one of"):
        load_recipe("__init__")


def test_total_is_the_weighted_sum():
    total, parts = loss_of(method("loss.pixels=0.5", "loss.quantisation=0.2", "loss.balance=3"))
    weights = {"pixels": 0.5, "quantisation": 0.2, "balance": 3}
    assert parts.keys() == {"full_full", "mask_full", "pixels", "points", "quantisation", "balance"}
    assert total == pytest.approx(sum(weights.get(n, 1.0) * v for n, v in parts.items()), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        (("loss.mask_full=0",), {"full_full", "pixels", "points"}),
        (("loss.pixels=0", "loss.points=0"), {"full_full", "mask_full"}),
        (("loss.mask_full=0", "loss.pixels=0", "loss.points=0"), {"full_full"}),
        (("loss.full_mask=1",), {"full_full", "mask_full", "full_mask", "pixels", "points"}),
    ],
)
def test_a_weight_of_zero_leaves_a_term_out(settings, left):
    assert loss_of(method(*settings))[1].keys() == left


def test_parts_that_stay_do_not_change():
    """Leaving out what comes after the full streams changes nothing in their contrast."""
    whole = loss_of(method())[1]
    alone = loss_of(method("loss.mask_full=0", "loss.pixels=0", "loss.points=0"))[1]
    assert alone["full_full"] == pytest.approx(whole["full_full"], rel=1e-5)


def test_every_parameter_gets_a_gradient():
    recipe = method("loss.full_mask=1")
    recipe.model.train()
    torch.nn.init.normal_(recipe.network.image_decoder.predict.weight, std=0.02)  # starts at zero
    torch.nn.init.normal_(recipe.network.point_decoder.predict.weight, std=0.02)
    recipe.loss(batch(), torch.Generator().manual_seed(0))[0].backward()
    without = [n for n, p in recipe.model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_fusion_off_drops_the_block():
    recipe = method("model.fusion_depth=0")
    assert recipe.network.fusion is None
    assert "points" in loss_of(recipe)[1]


def test_weights_of_one_change_nothing_and_others_do():
    recipe = method()
    plain = loss_of(recipe)[1]
    recipe.negative_weights = lambda index: (torch.ones(len(index), len(index)),) * 2
    assert loss_of(recipe)[1] == pytest.approx(plain, rel=1e-6)
    recipe.negative_weights = lambda index: (torch.full((len(index), len(index)), 3.0),) * 2
    assert loss_of(recipe)[1]["full_full"] > plain["full_full"]
    assert loss_of(recipe)[1]["pixels"] == pytest.approx(plain["pixels"])


def test_masked_part_runs_fewer_pairs():
    recipe = method("loss.masked_part=0.5")
    out = recipe.network(batch()["image"], batch()["points"], torch.Generator().manual_seed(0), masked=3)
    assert out.full_image.shape == (6, 16)
    assert out.masked_image.shape == (3, 16)
    assert loss_of(recipe)[0] > 0


def test_temperatures_are_learned_and_clamped():
    recipe = method("loss.temperature=0.5")
    assert recipe.log_temperature.shape == (2,)
    assert "log_temperature" in dict(recipe.model.named_parameters())
    recipe.log_temperature.data[:] = torch.tensor([-50.0, 50.0])
    recipe.after_step()
    assert recipe.log_temperature.exp().tolist() == pytest.approx([0.01, 1.0])
    fixed = method("loss.learn_temperature=false")
    assert "log_temperature" not in dict(fixed.model.named_parameters())


def test_a_single_length_works():
    assert method("model.bits=12").code_lengths == (12,)
    assert loss_of(method("model.bits=12"))[0] > 0


@pytest.mark.parametrize("head", ["tanh", "layernorm_ste"])
def test_heads_give_relaxed_codes(head):
    recipe = method(f"model.head={head}", "model.head_hidden=8")
    out = recipe.network(batch()["image"], batch()["points"], torch.Generator().manual_seed(0))
    assert out.full_image.abs().max() <= 1
    if head == "layernorm_ste":
        assert set(out.full_shape.flatten().tolist()) <= {-1.0, 1.0}


def test_turning():
    points = torch.tensor([[[1.0, 2.0, 0.0]]])
    assert torch.allclose(turned(points, math.pi / 2), torch.tensor([[[0.0, 2.0, -1.0]]]), atol=1e-6)
    assert torch.allclose(turned(turned(points, 0.7), -0.7), points, atol=1e-6)


def test_averaging_over_turns_makes_codes_turn_with_them():
    """Turned by a quarter, a cloud averaged over four turns has the same features."""
    recipe = method("model.shape_encoder=pointnet", "model.shape_turns=4")
    recipe.model.eval()
    points = batch()["points"]
    with torch.no_grad():
        outputs, quarter = (
            recipe.model.encode_shapes({"points": p}) for p in (points, turned(points, math.pi / 2))
        )
    assert torch.allclose(outputs, quarter, atol=1e-5)


def test_sizes_stand_as_published():
    """`small` has Point-MAE's encoder: 384 wide, 12 deep, about 22 M parameters a modality."""
    config = make_config("cmah", "small").model
    with torch.device("meta"):
        encoder = TokenEncoder(config.width, config.depth, config.heads, qkv_bias=False)
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(21.3e6, rel=0.01)


def two_images(b=6):
    """A batch with two images of each shape."""
    one, other = batch(b), batch(b, seed=5)
    images = torch.stack([one["image"], other["image"]], dim=1)
    return one | {"image": images, "drawn": torch.full((b,), 2)}


def test_two_images_of_a_shape_meet_each_other_and_the_shape():
    recipe, inputs = (
        method("loss.image_image=0.5", "loss.mask_full=0", "loss.pixels=0", "loss.points=0"),
        two_images(),
    )
    total, parts = loss_of(recipe, inputs)
    assert parts.keys() == {"full_full", "image_image"}
    assert total == pytest.approx(parts["full_full"] + 0.5 * parts["image_image"])
    network, temperatures = recipe.network, recipe.log_temperature.exp()
    first, second = (network.encode_images(inputs["image"][:, i]).tanh() for i in (0, 1))
    generator = torch.Generator().manual_seed(2)
    shape = network(inputs["image"][:, 0], inputs["points"], generator, masked=0).full_shape

    def both_ways(a, b):
        lengths = recipe.code_lengths
        there, back = (
            nested_info_nce(a, b, lengths, temperatures),
            nested_info_nce(b, a, lengths, temperatures),
        )
        return ((there + back) / 2).item()

    assert parts["image_image"] == pytest.approx(both_ways(first, second), rel=1e-5)
    met = (both_ways(first, shape) + both_ways(second, shape)) / 2
    assert parts["full_full"] == pytest.approx(met, rel=1e-5)


def test_a_batch_draws_two_images_where_they_meet(toy):
    config = make_config("cmah", "tiny", assignments=[*MICRO, "loss.image_image=1", "training.workers=0"])
    recipe = load_recipe("cmah")(config)
    drawn = next(recipe.batches(Dataset.read(toy), config).epoch(0))
    assert drawn["image"].shape[1] == 2
    assert (drawn["image"][:, 0] != drawn["image"][:, 1]).any()
    loss, parts = recipe.loss(drawn, torch.Generator().manual_seed(0))
    assert loss.isfinite()
    assert "image_image" in parts


def test_views_of_a_shape_come_after_the_images_that_ask():
    settings = ("loss.image_image=1", "model.shape_input=both", "model.views=2", "loss.mask_full=0")
    recipe, inputs = method(*settings), two_images()
    assert (recipe.asked_by, recipe.described_by) == (2, 2)
    described = torch.randint(0, 256, (6, 2, 3, 16, 16), dtype=torch.uint8)
    inputs |= {"image": torch.cat([inputs["image"], described], dim=1), "drawn": torch.full((6,), 4)}
    before = loss_of(recipe, inputs)[1]
    inputs["drawn"] = torch.full((6,), 3)  # the last view does not exist
    one = loss_of(recipe, inputs)[1]
    assert one["full_full"] != before["full_full"]
    inputs["image"][:, 3] = 0
    assert loss_of(recipe, inputs)[1]["full_full"] == pytest.approx(one["full_full"], rel=1e-6)


SOFT = (
    "loss.soft.share=0.5",
    "training.average=0.9",
    "training.warmup_epochs=2",
    "loss.pixels=0",
    "loss.points=0",
)


def test_soft_targets_are_those_of_the_teacher_after_the_warm_up():
    recipe, inputs = method(*SOFT), batch()
    recipe.teacher = method(seed=7).network.eval()
    recipe.start_epoch(1, 10)
    hard = loss_of(recipe, inputs)[1]
    assert hard == pytest.approx(loss_of(method("loss.pixels=0", "loss.points=0"), inputs)[1], rel=1e-6)
    recipe.start_epoch(2, 10)
    soft = loss_of(recipe, inputs)[1]
    with torch.no_grad():
        codes = recipe.teacher.encode_images(inputs["image"]), recipe.teacher.encode_shapes(inputs)
    likeness = sum(torch.cosine_similarity(c.tanh()[:, None], c.tanh()[None], dim=2) for c in codes) / 2
    targets = torch.zeros(6, 6)
    for i in range(6):
        weights = {j: math.exp(likeness[i, j].item() / 0.1) for j in range(6) if j != i}
        for j, weight in weights.items():
            targets[i, j] = 0.5 * weight / sum(weights.values())
        targets[i, i] = 0.5
    out = recipe.network(inputs["image"], inputs["points"], torch.Generator().manual_seed(2), masked=0)
    temperatures = recipe.log_temperature.exp()
    ways = (out.full_image, out.full_shape), (out.full_shape, out.full_image)
    each = [nested_info_nce(a, b, recipe.code_lengths, temperatures, targets=targets) for a, b in ways]
    assert soft["full_full"] == pytest.approx((sum(each) / 2).item(), rel=1e-5)
    assert soft["mask_full"] != pytest.approx(hard["mask_full"], rel=1e-4)


def test_soft_targets_of_a_masked_part_sum_to_one():
    recipe = method(*SOFT, "loss.masked_part=0.5", "loss.full_mask=1", "training.warmup_epochs=0")
    recipe.teacher = method(seed=7).network.eval()
    recipe.start_epoch(0, 10)
    assert loss_of(recipe)[1].keys() == {"full_full", "mask_full", "full_mask"}


def test_soft_targets_without_a_teacher_are_refused():
    with pytest.raises(ConfigError, match=r"set training\.average"):
        method("loss.soft.share=0.5")

"""An encoder in chunks against the same encoder at once: the same loss, the same gradients, fewer rows at a time."""

import pytest
import torch
from torch import nn

from cmah.data.dataset import Dataset
from cmah.errors import CmahError
from cmah.models.backbones import Tuned
from cmah.models.chunks import set_chunk_size
from cmah.models.encoders import TokenEncoder
from cmah.recipes.cmah import CmahRecipe
from cmah.recipes.resolving import make_config
from cmah.training.loop import TrainingLoop

SMALL = ["model.width=32", "model.depth=2", "model.heads=2", "model.bits=8,16", "model.head_dropout=0"]


def gradients(chunk_size):
    torch.manual_seed(0)
    recipe = CmahRecipe(make_config("cmah", "tiny", assignments=SMALL))
    assert set_chunk_size(recipe.network, chunk_size) == 4  # two encoders, and those within the two decoders
    rng = torch.Generator().manual_seed(1)
    batch = {
        "image": torch.randint(0, 256, (7, 3, 64, 64), dtype=torch.uint8, generator=rng),
        "points": torch.rand(7, 512, 3, generator=rng),
        "index": torch.arange(7),
    }
    most = []
    for module in recipe.network.modules():
        if isinstance(module, TokenEncoder):
            module.blocks[0].register_forward_pre_hook(lambda _, inputs: most.append(len(inputs[0])))
    loss, _ = recipe.loss(batch, torch.Generator().manual_seed(2))
    loss.backward()
    return loss.item(), {name: p.grad for name, p in recipe.network.named_parameters()}, max(most)


@pytest.mark.parametrize("chunk_size", [1, 3])
def test_loss_and_gradients_are_those_of_the_whole_batch(chunk_size):
    loss, expected, most = gradients(0)
    assert most == 7
    chunked_loss, grads, most = gradients(chunk_size)
    assert most == chunk_size
    assert chunked_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in expected.items():
        if gradient is None:
            assert grads[name] is None, name
        else:
            torch.testing.assert_close(grads[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_activations_of_a_chunk_alone_are_kept():
    """Bytes that autograd holds between the two passes."""
    held = {}
    for chunk_size in (0, 2):
        encoder = TokenEncoder(width=16, depth=3, heads=2).train()
        set_chunk_size(encoder, chunk_size)
        kept = []

        def pack(tensor, kept=kept):
            kept.append(tensor.numel())
            return tensor

        tokens = torch.rand(20, 9, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder(tokens)
        held[chunk_size] = sum(kept)
    assert held[2] < held[0] / 20


def test_a_dropped_number_is_the_same_when_it_is_computed_again():
    """Else the gradient would be that of other numbers: of x · mask it is the mask."""
    tower = Tuned(nn.Dropout(0.5)).train()
    set_chunk_size(tower, 2)
    x = torch.ones(9, 50, requires_grad=True)
    out = tower(x)
    out.sum().backward()
    assert 0 < int((out == 0).sum()) < out.numel()
    torch.testing.assert_close(x.grad, out)


def test_evaluation_and_small_batches_go_at_once():
    tower, seen = Tuned(nn.Identity()), []
    tower.net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    set_chunk_size(tower, 4)
    with torch.no_grad():
        tower(torch.zeros(9, 1))
    tower(torch.zeros(4, 1))
    tower(torch.zeros(5, 1))
    assert seen == [9, 4, 4, 1]


def test_refused_where_nothing_can_go_in_chunks(toy, tmp_path):
    from timm import create_model

    torch.save(create_model("test_resnet").state_dict(), tmp_path / "weights.pt")
    settings = [
        "model.image_encoder=timm:test_resnet", f"model.image_weights={tmp_path / 'weights.pt'}", "model.views=2",
        "model.image_stages=0", "model.image_size=32", "model.shape_input=views", "model.bits=8",
        "training.chunk_size=8", "training.workers=0",
    ]  # fmt: skip
    config = make_config(None, "towers", assignments=settings)
    with pytest.raises(CmahError, match=r"training.chunk_size = 8: no encoder of this network"):
        TrainingLoop(config, Dataset.read(toy), tmp_path / "run", torch.device("cpu"), print)

"""Small inputs of the recipes over two towers."""

import timm
import torch
from safetensors.torch import save_file

from cmah.models.pretrained import point_encoder

TINY = (
    "model.image_encoder=timm:test_resnet", "model.image_size=32", "model.shape_encoder=pointnet", "model.points=32",
    "model.bits=16", "training.batch_size=8", "training.workers=0", "training.warmup_epochs=0",
    "training.validation_views=1",
)  # fmt: skip


def image_weights(folder):
    """A file of random weights of the image encoder in `TINY`, of 96 features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(
            timm.create_model("test_resnet", pretrained=False).state_dict(), folder / "image.safetensors"
        )
    return folder / "image.safetensors"


def published_openshape(folder):
    """Random weights of openshape_b32 (512 dimensions) in the layout of the published file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = point_encoder("openshape_b32")
    names = encoder.layouts[0].names
    state = {}
    for key, value in encoder.state_dict().items():
        beginning = max((name for name in names if key.startswith(name)), key=len)
        state[f"pc_encoder.{names[beginning]}{key[len(beginning) :]}"] = value.contiguous()
    torch.save(state, folder / "openshape.pt")
    return folder / "openshape.pt"

"""SLIP ViT-B/16 (Mu et al., ECCV 2022, arXiv 2112.12750), the image and text encoder that ULIP is aligned with.

It is in no library's list of models, but its frozen towers lie in ULIP's checkpoints under the names of SLIP's own file
(`visual.*`, `image_projection`; the text tower's are CLIP's). Networks, tokens and pixel statistics are those of the
authors' code (facebookresearch/SLIP, salesforce/ULIP).
"""

from typing import Any

from torch import Tensor, nn

from cmah.errors import ConfigError

NAME = "ViT-B-16"
WIDTH, DIM = 768, 512  # of the image tower, of the embeddings
# Resizing is torchvision's, with its default interpolation
PIXELS: dict[str, Any] = {
    "size": 224,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bilinear",
}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
IMAGE_KEYS = ("visual.", "image_projection")
# All that the files hold beside the text tower: the image tower, the head of SLIP's self-supervision, ULIP's points
NOT_TEXT = (*IMAGE_KEYS, "logit_scale", "image_mlp.", "point_encoder.", "pc_projection")


def check(name: str, options: dict[str, Any]) -> None:
    """Refuse other sizes, and options of timm or open_clip.

    Raises:
        ConfigError: naming the unknown model or option.

    Examples:
        >>> check("ViT-B-16", {"mean": 0.5})
        >>> check("ViT-L-16", {})
        Traceback (most recent call last):
        cmah.errors.ConfigError: image encoder 'slip:ViT-L-16': expected slip:ViT-B-16, the one that ULIP ...
    """
    if name != NAME:
        raise ConfigError(
            f"image encoder 'slip:{name}': expected slip:{NAME}, the one that ULIP is aligned with"
        )
    for key in options:
        if key not in ("mean", "std", "interpolation", "stages"):
            raise ConfigError(
                f"encoder slip:{name}: unknown option {key}, expected mean, std, interpolation or stages"
            )


class Images(nn.Module):
    """The image tower, with the parameters' names as in the files.

    Examples:
        >>> import torch
        >>> with torch.inference_mode():
        ...     tuple(Images().eval()(torch.zeros(1, 3, 224, 224)).shape)
        (1, 512)
    """

    def __init__(self) -> None:
        import timm
        import torch

        super().__init__()
        self.visual: nn.Module = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0)
        self.image_projection = nn.Parameter(torch.randn(WIDTH, DIM) * WIDTH**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """Standardised pixels [b, 3, 224, 224] to embeddings [b, 512]."""
        features: Tensor = self.visual(pixels)
        return features @ self.image_projection


def image_part(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file that belong to `Images`.

    Examples:
        >>> import torch
        >>> names = ("visual.cls_token", "image_projection", "ln_final.bias")
        >>> list(image_part({name: torch.zeros(1) for name in names}))
        ['visual.cls_token', 'image_projection']
    """
    return {key: value for key, value in weights.items() if key.startswith(IMAGE_KEYS)}


def texts(smallest_image: dict[str, int]) -> nn.Module:
    """CLIP's text tower (open_clip's, with QuickGELU) beside an image tower of any size, which stays unused.

    Examples:
        On the device "meta" shapes can be tried without computing.

        >>> import torch
        >>> smallest = {"image_size": 32, "patch_size": 32, "layers": 1, "width": 64, "head_width": 64}
        >>> with torch.device("meta"):
        ...     tuple(texts(smallest).encode_text(torch.zeros(2, 77, dtype=torch.long)).shape)
        (2, 512)
    """
    import open_clip

    net: nn.Module = open_clip.CLIP(DIM, smallest_image, TEXT, quick_gelu=True)
    return net

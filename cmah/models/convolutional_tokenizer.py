"""Tokens of an image by a small convolutional network: one for each patch, but informed by what lies around it.

From few images a linear map of each patch has to learn what an edge is at every place and scale; convolutions need not
(Xiao et al., "Early convolutions help transformers see better", NeurIPS 2021). Where patches are masked they are
painted over before the network sees the image, so that nothing of them reaches the visible tokens (as in ConvMAE, Gao
et al., NeurIPS 2022).
"""

import torch
from torch import Tensor, nn

from cmah.models.tokenizers import sine_positions


class ConvolutionalTokenizer(nn.Module):
    """Strided convolutions, each but the first in a residual block, down to one token for each patch.

    Args:
        image_size: pixels.
        patch: side of a patch in pixels, a power of two from 4 on: each halving of the image is a stage.
        width: of a token.
        channels: of the first stage; each further stage has twice as many.

    Examples:
        >>> tokenizer = ConvolutionalTokenizer(image_size=32, patch=16, width=8, channels=4)
        >>> tuple(tokenizer(torch.rand(2, 3, 32, 32)).shape)
        (2, 4, 8)
    """

    def __init__(self, image_size: int, patch: int, width: int, channels: int) -> None:
        super().__init__()
        stages = patch.bit_length() - 1
        widths = [channels << stage for stage in range(stages)]
        first = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
        blocks = [ResidualBlock(narrow, 2 * narrow) for narrow in widths[:-1]]
        self.stages = nn.Sequential(first, nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *blocks)
        self.project = nn.Linear(widths[-1], width)
        self.register_buffer("positions", sine_positions(image_size // patch, width), persistent=False)
        self.positions: Tensor
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, images: Tensor) -> Tensor:
        """Images [b, 3, side, side], normalised, to tokens [b, t, width] with positions added."""
        maps = self.stages(images.contiguous(memory_format=torch.channels_last))
        return self.project(maps.flatten(2).transpose(1, 2)) + self.positions


class ResidualBlock(nn.Module):
    """Two convolutions of 3 × 3, the first of which halves the image, beside a convolution of 1 × 1 (He et al. 2016).

    It begins as that convolution of 1 × 1 alone.

    Examples:
        >>> tuple(ResidualBlock(4, 8)(torch.rand(2, 4, 16, 16)).shape)
        (2, 8, 8, 8)
    """

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        last = nn.BatchNorm2d(wide)
        nn.init.zeros_(last.weight)
        self.branch = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False),
            last,
        )
        self.shortcut = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride=2, bias=False), nn.BatchNorm2d(wide))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [b, narrow, side, side] to [b, wide, side / 2, side / 2]."""
        return torch.relu(self.branch(maps) + self.shortcut(maps))


def painted_over(images: Tensor, masked: Tensor, patch: int) -> Tensor:
    """Normalised images [b, 3, side, side] with the patches of index int64 [b, m] set to 0, the mean colour.

    Examples:
        >>> painted_over(torch.ones(1, 3, 2, 2), torch.tensor([[0, 3]]), patch=1)[0, 0].tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    b, _, side, _ = images.shape
    n = side // patch
    kept = torch.ones(b, n * n, device=images.device, dtype=images.dtype)
    kept.scatter_(1, masked.to(images.device), 0.0)
    grid = kept.reshape(b, 1, n, n).repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
    return images * grid

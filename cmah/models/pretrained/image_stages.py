"""What the stages of an image network give on the way to its embedding: their averages over the whole image."""

import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError

LISTS = ("blocks", "stages", "layers")  # attributes in which networks of timm keep their stages
NUMBERED = r"(layer|level|s)\d+"  # or names of the stages themselves: ResNets, DLA, RegNets
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stage:
    """One stage of a network.

    Attributes:
        module: whose output is averaged.
        axes: of that output to average over.
        first: position, on the only such axis of tokens, of the first patch: behind class and register tokens.
        width: numbers in an average.

    Examples:
        >>> tokens = torch.tensor([[[9.0], [1.0], [3.0]]])  # a class token before two patches
        >>> Stage(nn.Identity(), axes=(1,), first=1, width=1).average(tokens)
        tensor([[2.]])
    """

    module: nn.Module
    axes: tuple[int, ...]
    first: int
    width: int

    def average(self, output: Tensor) -> Tensor:
        """The mean over the image, [b, width], of the stage's output."""
        return (output[:, self.first :] if self.first else output).mean(self.axes)


class ImageStages:
    """The last stages of an image network before its last layer, averaged over the image while the network runs.

    A stage is an entry of the network's `blocks`, `stages` or `layers`, or one of its children layer1, layer2, … The
    final one counts only if it gives maps and widths tell that a layer comes after it (as in MobileNets and
    EfficientNets); else its average would be the embedding once more (as in ResNets and ConvNeXts).
    In vision transformers a stage is a transformer block before the final one, averaged over the tokens of patches.

    Attributes:
        widths: numbers of each average, in the order of depth, then those of the embedding.

    Examples:
        >>> import timm
        >>> net = timm.create_model("mobilenetv2_100", num_classes=0).eval()
        >>> stages = ImageStages(net, 4, net, torch.zeros(1, 3, 64, 64), "timm:mobilenetv2_100")
        >>> stages.widths, tuple(stages.beside(net, torch.rand(2, 3, 64, 64)).shape)
        ((64, 96, 160, 320, 1280), (2, 1920))
    """

    def __init__(self, net: nn.Module, count: int, run: Run, pixels: Tensor, encoder: str) -> None:
        """Learn all widths by running the network once.

        Args:
            net: the network, in evaluation mode.
            count: of the stages; 0 for none.
            run: from pixels to embeddings [b, d] by that network.
            pixels: one image, float [1, 3, s, s].
            encoder: its name, for errors.

        Raises:
            ConfigError: for a network whose stages cannot be told apart, or that has fewer.
        """
        inner, modules, before = _modules(net) if count else (net, [], 0)
        with torch.no_grad(), _outputs(modules, lambda number, output: output) as outputs:
            width = run(pixels).shape[1]
        there: list[Any] = [outputs.get(number) for number in range(len(modules))]
        if count and not (there and all(map(_is_map, there))):
            raise ConfigError(
                f"encoder {encoder}: stages={count}: its stages cannot be told apart (expected a network of stages one "
                "after the other: a ResNet, MobileNet, EfficientNet, ConvNeXt, vision transformer or the like)"
            )
        channels_last = getattr(inner, "output_fmt", "") == "NHWC"
        stages = [
            _stage(module, output, before, channels_last)
            for module, output in zip(modules, there, strict=True)
        ]
        # timm's num_features: width of the maps that it averages, upon which another layer may follow
        behind = {width, getattr(inner, "num_features", width)}
        if stages and (len(stages[-1].axes) == 1 or behind == {stages[-1].width}):
            stages.pop()
        if len(stages) < count:
            raise ConfigError(
                f"encoder {encoder}: stages={count}: it has {len(stages)} before its last layer"
            )
        self._stages = stages[len(stages) - count :]
        self.widths = (*(stage.width for stage in self._stages), width)

    def beside(self, run: Run, pixels: Tensor) -> Tensor:
        """The averages of the stages, then the embedding: [b, sum(widths)].

        Args:
            run: from pixels to embeddings [b, d] by the network; called once.
            pixels: float [b, 3, s, s].
        """
        if not self._stages:
            return run(pixels)
        modules = [stage.module for stage in self._stages]
        with _outputs(modules, lambda number, output: self._stages[number].average(output)) as averages:
            embedding = run(pixels)
        return torch.cat([*(averages[number] for number in range(len(modules))), embedding], dim=1)


@contextmanager
def _outputs(modules: list[nn.Module], take: Callable[[int, Any], Any]) -> Iterator[dict[int, Any]]:
    """What `take` makes of a module's number and its output, by that number, for a run in this thread."""
    taken: dict[int, Any] = {}
    thread = threading.get_ident()  # another thread's images go through the same modules

    def hook(number: int) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if threading.get_ident() == thread:
                taken[number] = take(number, output)

        return keep

    handles = [module.register_forward_hook(hook(number)) for number, module in enumerate(modules)]
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def _modules(net: nn.Module) -> tuple[nn.Module, list[nn.Module], int]:
    """The network within wrappers, its stages, and how many tokens it says to come before those of patches."""
    net = getattr(net, "trunk", net)  # open_clip's wrapper of timm's networks
    net = getattr(net, "visual", net)  # SLIP's
    blocks = getattr(getattr(net, "transformer", None), "resblocks", None)
    if blocks is not None:  # open_clip's vision transformers
        return net, list(blocks), 1
    before = getattr(net, "num_prefix_tokens", 0)
    for name in LISTS:
        stages = getattr(net, name, None)
        if isinstance(stages, nn.Sequential | nn.ModuleList) and len(stages) > 1:
            return net, list(stages), before
    numbered = [child for name, child in net.named_children() if re.fullmatch(NUMBERED, name)]
    return net, numbered if len(numbered) > 1 else [], before


def _is_map(output: Any) -> bool:
    """Whether an output is the map, or the tokens, of one image."""
    return isinstance(output, Tensor) and output.ndim in (3, 4) and len(output) == 1


def _stage(module: nn.Module, output: Tensor, before: int, channels_last: bool) -> Stage:
    """A stage by its output for one square image, whose maps and grids of patches are square too."""
    if output.ndim == 4:
        channels_last = channels_last or output.shape[2] != output.shape[3]
        return Stage(module, (1, 2) if channels_last else (2, 3), 0, output.shape[3 if channels_last else 1])
    tokens = output.shape[1]
    patches = max(tokens - before, 0)
    if not patches or math.isqrt(patches) ** 2 != patches:  # some add their class token only in later blocks
        before = tokens - math.isqrt(tokens) ** 2
    return Stage(module, (1,), before, output.shape[2])

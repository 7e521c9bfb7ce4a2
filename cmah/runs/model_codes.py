"""The real outputs of a trained model for batches of images and shapes, and the codes and embeddings made of them."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import PostHocHash
from cmah.codes.real_codes import as_real_codes
from cmah.errors import RunError
from cmah.features.inference import in_batches
from cmah.models.encoder_model import EncoderModel
from cmah.models.frozen_towers import FrozenTowers
from cmah.runs.run_folder import MODALITIES


class ModelCodes:
    """A trained model on a device, with what its outputs are made codes of.

    Attributes:
        model: the network.
        device: where it is.
        space: names the model; codes of different spaces are not comparable.
        fitted: where the model has learned no codes, the hash that makes them of its embeddings; None before it is
            fitted.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> encoder = ModelCodes(model, "cpu", space="demo")
        >>> outputs = encoder.outputs("shape", [{"points": torch.rand(3, model.points, 3)}])
        >>> encoder.codes(outputs, "shape").bits, encoder.packed(outputs, "shape").shape
        (64, (3, 8))
    """

    def __init__(
        self, model: EncoderModel, device: torch.device | str, space: str, fitted: PostHocHash | None = None
    ) -> None:
        self.model, self.device, self.space, self.fitted = model, torch.device(device), space, fitted

    @property
    def view_width(self) -> int:
        """Numbers in a vector by which the model compares images with views beside its outputs; 0 where it has none.

        Examples:
            >>> from cmah.runs.encoder import Encoder
            >>> Encoder.load("demo/run").view_width
            0
        """
        return self.model.view_width if isinstance(self.model, FrozenTowers) else 0

    @property
    def view_space(self) -> str:
        """Names what vectors of views are compared in: that of the model's embeddings, where it has no others.

        Examples:
            >>> from cmah.runs.encoder import Encoder
            >>> encoder = Encoder.load("demo/run")
            >>> encoder.view_space == encoder.space
            True
        """
        return f"{self.space} views" if self.view_width and self.space else self.space

    def outputs(self, inputs: Literal["image", "features", "shape"], batches: Iterable[Any]) -> np.ndarray:
        """Real outputs of the model, float32 [n, width].

        Args:
            inputs: what `batches` holds.
            batches: images (uint8 [b, 3, s, s], with masks [b, 4, s, s]), what a frozen image encoder made of them
                (float32 [b, d]; for a model with `image_kinds`, "features" and "kinds" by name), or shapes (named
                tensors, see `EncoderModel.encode_shapes`).
        """
        network: Any = self.model
        encode = {"image": "encode_images", "features": "encode_image_features", "shape": "encode_shapes"}
        function, what = getattr(network, encode[inputs]), f"outputs of the model for {inputs}s"
        if inputs == "features" and network.image_kinds:
            function = partial(_of_named, function)
        return in_batches(function, batches, self.device, self.model.width, network, what)

    def outputs_with_vectors(self, inputs: Literal["image", "shape"], batches: Iterable[Any]) -> np.ndarray:
        """Outputs, and behind them vectors to compare views by, float32 [n, width + view_width].

        Args:
            inputs: what `batches` holds.
            batches: as in `outputs`.

        Examples:
            >>> from cmah.runs.encoder import Encoder
            >>> encoder = Encoder.load("demo/run")  # whose model has no vectors beside its outputs
            >>> encoder.outputs_with_vectors("shape", [{"points": torch.rand(3, encoder.model.points, 3)}]).shape
            (3, 64)
        """
        if not isinstance(self.model, FrozenTowers) or not self.view_width:
            return self.outputs(inputs, batches)
        network: Any = self.model
        encode = network.images_with_vectors if inputs == "image" else network.shapes_with_vectors
        width, what = self.model.width + self.view_width, f"outputs of the model for {inputs}s"
        return in_batches(encode, batches, self.device, width, network, what)

    def codes(self, outputs: np.ndarray, modality: str, **columns: Any) -> BinaryCodes:
        """The codes of real outputs [n, width] of "image" or "shape", with more columns such as `ids`."""
        lengths = self.model.code_lengths
        packed = self.packed(outputs, modality)
        return BinaryCodes.from_packed(
            packed, lengths[-1], lengths, space=self.space, modality=modality, **columns
        )

    def packed(self, outputs: np.ndarray, modality: str) -> np.ndarray:
        """The bits of codes of real outputs, uint8 [n, bytes]: the signs of the model's, or those of a fitted hash.

        Args:
            outputs: float32 [n, width].
            modality: "image" or "shape".

        Raises:
            RunError: if there is neither yet.
        """
        if self.model.learned_codes:
            return np.packbits(self.model.code_outputs(outputs) >= 0, axis=1)
        rows = Embeddings(embeddings=self.model.embeddings(outputs))
        return self._hash().encode(rows, MODALITIES.index(modality)).packed

    def real_codes(self, outputs: np.ndarray, modality: str) -> np.ndarray:
        """Real-valued codes of real outputs, whose signs are the codes, float32 [n, bits].

        They are the tanh of the outputs that the model's codes are the signs of, in (-1, 1), the first of which are
        those of a shorter code; or `PostHocHash.encode_real` of a fitted hash.

        Args:
            outputs: float32 [n, width].
            modality: "image" or "shape".

        Raises:
            RunError: as in `packed`.

        Examples:
            >>> from cmah.runs.encoder import Encoder
            >>> encoder = Encoder.load("demo/run")
            >>> real = encoder.real_codes(np.array([[0.5] * 32 + [-2.0] * 32], np.float32), "image")
            >>> real[0, [0, 63]].round(3).tolist()
            [0.46..., -0.96...]
        """
        if self.model.learned_codes:
            return as_real_codes(np.tanh(self.model.code_outputs(outputs)))
        rows = Embeddings(embeddings=self.model.embeddings(outputs))
        return self._hash().encode_real(rows, MODALITIES.index(modality)).embeddings

    def _hash(self) -> PostHocHash:
        if self.fitted is None:
            raise RunError(
                "the run has no hash.npz yet, from which its codes come: let the training end (cmah train … "
                "--resume), or export --embeddings"
            )
        return self.fitted


def _of_named(encode: Callable[[Tensor, Tensor], Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """What a model makes of features and the kinds of their images."""
    return encode(batch["features"], batch["kinds"])

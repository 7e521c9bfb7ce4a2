"""The hash of a run whose model learns no codes, fitted to the embeddings of its training data."""

from collections.abc import Callable, Sequence

import torch

from cmah.codes.posthoc import PostHocHash, fit_hash
from cmah.data.dataset import Dataset
from cmah.recipes.recipe import Recipe
from cmah.runs.encoder import Encoder
from cmah.runs.run_folder import RunFolder
from cmah.runs.tensor_files import load_own_state, load_tensors

FIT_SHAPES = 20_000  # more would hardly change a rotation of some hundred dimensions


def fitted_codes(
    encoder: Encoder, dataset: Dataset, kinds: Sequence[str], views: int, workers: int
) -> PostHocHash:
    """A hash by ITQ for a model that has learned no codes, fitted to embeddings of its own training data.

    Args:
        encoder: of the run.
        dataset: the shapes and images that it was trained on; of more than 20,000 shapes at most so many are used.
        kinds: kinds of images that take part.
        views: images of each shape.
        workers: processes that decode images.

    Examples:
        >>> encoder = Encoder.load("demo/run")  # as if its model had learned no codes
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> fitted = fitted_codes(encoder, dataset, kinds=["render"], views=2, workers=0)
        >>> fitted.method, fitted.bits, fitted.modalities.tolist()
        ('itq', 64, ['image', 'shape'])
    """
    step = -(-len(dataset.shapes) // FIT_SHAPES)
    shapes = dataset.shapes[::step]
    images = dataset.some_views(shapes, kinds, views)
    if not images:  # none of them shows a shape
        images = [image for image in dataset.images if image.kind in kinds]
        images = images[:: max(1, len(images) // FIT_SHAPES)]
    sets = [
        encoder.dataset_images(dataset, images, workers=workers, label="hash: images", embeddings=True)[0],
        encoder.dataset_shapes(dataset, shapes, workers=workers, label="hash: shapes", embeddings=True)[0],
    ]
    return fit_hash(sets, encoder.model.code_lengths[-1])


def fit_codes(
    folder: RunFolder,
    recipe: Recipe,
    training_set: Dataset,
    device: torch.device,
    report: Callable[[str], None],
) -> None:
    """Where the model learns no codes, fit the hash that makes them of its embeddings and keep it in the run.

    Args:
        folder: the run; its best weights are loaded.
        recipe: the method with its network.
        training_set: what was trained on.
        device: to compute on.
        report: called with a line for people.

    Raises:
        RunError: if the run has a hash already that is damaged or of another model.

    Examples:
        A run of two towers, the one for images with random weights, as `train` leaves it before the hash is fitted:

        >>> from pathlib import Path
        >>> from timm import create_model
        >>> from cmah.recipes.resolving import build_recipe, make_config
        >>> from cmah.runs.tensor_files import own_state, save_tensors
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> model = {"image_encoder": "timm:test_resnet", "image_weights": "weights.pt", "image_size": 32}
        >>> model |= {"shape_encoder": "pointnet", "points": 64, "bits": 8}
        >>> config = make_config("prealigned", overrides={"model": model, "training": {"workers": 0}})
        >>> recipe = build_recipe(config)
        >>> origin = {"path": "demo/dataset", "name": "demo", "checksum": ""}
        >>> folder = RunFolder.create(Path("run"), config, origin)
        >>> save_tensors(folder.weights, own_state(recipe.network), {"epoch": 0})
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> fit_codes(folder, recipe, dataset, torch.device("cpu"), report=print)
        codes: 8 bits by ITQ, fitted to the embeddings of the training shapes, in run/hash.npz
    """
    model, training = recipe.model, folder.config.training
    if model.learned_codes or folder.fitted_hash(model) is not None:
        return
    load_own_state(recipe.network, load_tensors(folder.weights)[0], folder.weights)
    encoder = Encoder(model, device, space="fit", framing=folder.config.data.framing)
    kinds, views = folder.config.data.kinds, training.validation_views
    fitted_codes(encoder, training_set, kinds, views, training.workers).save(folder.hash)
    bits = model.code_lengths[-1]
    report(f"codes: {bits} bits by ITQ, fitted to the embeddings of the training shapes, in {folder.hash}")

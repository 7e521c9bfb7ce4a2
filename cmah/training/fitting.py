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
        dataset: the shapes and images that it was trained on; of more than 20,000 shapes only so many are used.
        kinds: kinds of images that take part.
        views: images of each shape.
        workers: processes that decode images.
    """
    step = -(-len(dataset.shapes) // FIT_SHAPES)
    shapes = dataset.shapes[::step]
    images = dataset.some_views(shapes, kinds, views)
    sets = [
        encoder.dataset_images(dataset, images, workers=workers, label="hash: images", embeddings=True)[0],
        encoder.dataset_shapes(dataset, shapes, label="hash: shapes", embeddings=True)[0],
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
    """
    model, training = recipe.model, folder.config.training
    if model.learned_codes or folder.fitted_hash(model) is not None:
        return
    load_own_state(recipe.network, load_tensors(folder.weights)[0], folder.weights)
    encoder = Encoder(model, device, space="fit")
    kinds, views = folder.config.data.kinds, training.validation_views
    fitted_codes(encoder, training_set, kinds, views, training.workers).save(folder.hash)
    bits = model.code_lengths[-1]
    report(f"codes: {bits} bits by ITQ, fitted to the embeddings of the training shapes, in {folder.hash}")

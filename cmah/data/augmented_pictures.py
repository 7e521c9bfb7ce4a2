"""Images of a dataset as training sees them: framed, augmented, square, with their masks if the model has them."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from cmah.data.augmentation import (
    NO_IMAGE_AUGMENTATION,
    ImageAugmentation,
    MaskOf,
    augment_image,
    augment_together,
)
from cmah.data.dataset import Dataset, Image
from cmah.data.framing import WHOLE, Framing, PictureFile, open_picture, open_with_mask
from cmah.errors import CmahError, CmahWarning
from cmah.skipped_files import Skipped


class AugmentedPictures:
    """Draws augmented images of a dataset; what is drawn is a function of the image and the generator alone.

    Examples:
        >>> dataset = Dataset.read("demo/dataset")
        >>> pictures = AugmentedPictures(dataset, 32, ImageAugmentation(), masks=True)
        >>> pictures.draw(dataset.images[0], np.random.default_rng(0)).shape
        (4, 32, 32)
    """

    def __init__(
        self,
        dataset: Dataset,
        image_size: int,
        augmentation: ImageAugmentation = NO_IMAGE_AUGMENTATION,
        framing: Framing = WHOLE,
        *,
        masks: bool = False,
        styles: Sequence[Image] | None = None,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            dataset: the folder.
            image_size: side of the results in pixels.
            augmentation: how images vary.
            framing: what is cut off and painted over; a background that is removed is not replaced by another.
            masks: add the mask as a fourth channel, see `framing.open_with_mask`.
            styles: the images whose colours others take on; None: all of the dataset.
        """
        self.dataset, self.image_size, self.framing, self.masks = dataset, image_size, framing, masks
        self.augmentation = augmentation
        if framing.background == "remove":
            self.augmentation = replace(augmentation, background=0.0)
        self._styles = dataset.images if styles is None else styles
        self._place = {image.image_id: place for place, image in enumerate(self._styles)}

    @property
    def channels(self) -> int:
        """Of a result: 3, or 4 with masks.

        Examples:
            >>> AugmentedPictures(Dataset.read("demo/dataset"), 32).channels
            3
        """
        return 4 if self.masks else 3

    def draw(self, image: Image, rng: np.random.Generator) -> np.ndarray:
        """A random variant of an image: uint8 [3 or 4, size, size].

        Args:
            image: a row of the dataset's images.
            rng: the generator of everything random.

        Raises:
            CmahError: if the picture, or a mask that is needed, cannot be read.

        Examples:
            >>> dataset = Dataset.read("demo/dataset")
            >>> AugmentedPictures(dataset, 32).draw(dataset.images[0], np.random.default_rng(0)).shape
            (3, 32, 32)
        """
        pixels, mask = self._opened(self.dataset.picture(image))
        style = partial(self._style, [image], rng)
        drawn = augment_image(pixels, self.image_size, self.augmentation, rng, mask, style, masks=self.masks)
        return drawn.transpose(2, 0, 1)

    def draw_together(
        self, images: Sequence[Image], rng: np.random.Generator
    ) -> tuple[np.ndarray, list[int], Skipped]:
        """Variants of several images that are changed alike, such as views of one shape; see `augment_together`.

        Args:
            images: rows of the dataset's images.
            rng: the generator of everything random.

        Returns:
            The variants, uint8 [v, 3 or 4, size, size]; which of `images` they are of, ascending; and (path, reason) of
            those that cannot be read and are left out.

        Examples:
            >>> dataset = Dataset.read("demo/dataset")
            >>> pictures = AugmentedPictures(dataset, 32, ImageAugmentation())
            >>> views = [*dataset.images[:2], replace(dataset.images[2], path="none.jpg")]
            >>> drawn, kept, skipped = pictures.draw_together(views, np.random.default_rng(0))
            >>> drawn.shape, kept, skipped
            ((2, 3, 32, 32), [0, 1], [('demo/dataset/none.jpg', 'demo/dataset/none.jpg: no such file (expected ...)')])
        """
        opened: list[tuple[np.ndarray, MaskOf]] = []
        kept: list[int] = []
        skipped: Skipped = []
        for number, image in enumerate(images):
            picture = self.dataset.picture(image)
            try:
                pixels, mask = self._opened(picture)
                if self.augmentation.background > 0:  # read now, so that a fault costs this picture alone
                    mask = partial(_same, mask())
                opened.append((pixels, mask))
                kept.append(number)
            except CmahError as error:
                skipped.append((str(picture.path), str(error)))
        drawn = augment_together(
            [pixels for pixels, _ in opened],
            self.image_size,
            self.augmentation,
            rng,
            [mask for _, mask in opened],
            partial(self._style, images, rng),
            masks=self.masks,
        )
        return drawn.transpose(0, 3, 1, 2), kept, skipped

    def _opened(self, picture: PictureFile) -> tuple[np.ndarray, MaskOf]:
        """The framed pixels, and what gives their mask."""
        if not self.masks:
            return open_picture(picture, self.framing)
        pixels, mask = open_with_mask(picture, self.framing)
        return pixels, partial(_same, mask)

    def _style(self, images: Sequence[Image], rng: np.random.Generator) -> np.ndarray | None:
        """The pixels of a random image other than these; None if there is no other, or if it cannot be read.

        The published method takes another image of the batch, by a random permutation. A random other one of the
        training set has the same distribution, and keeps a sample a function of (seed, epoch, position) alone.
        """
        own = sorted({self._place[image.image_id] for image in images if image.image_id in self._place})
        if len(own) == len(self._styles):
            return None
        choice = int(rng.integers(len(self._styles) - len(own)))
        for place in own:
            choice += choice >= place
        try:
            return open_picture(self.dataset.picture(self._styles[choice]), self.framing)[0]
        except CmahError as error:
            warnings.warn(f"{error}; its colours are not taken on", CmahWarning, stacklevel=2)
            return None


def _same(mask: np.ndarray | None) -> np.ndarray | None:
    return mask

"""Pictures of shapes and images for a page: small JPEGs and drawn point clouds as `data:` addresses."""

import base64
import io
from functools import lru_cache
from pathlib import Path

import numpy as np

from cmah.data.dataset import Dataset
from cmah.data.file_kinds import kind_of_file
from cmah.data.images import fit_square, load_image
from cmah.data.point_clouds import load_points_file
from cmah.errors import CmahError
from cmah.meshes.point_sampling import points_of_mesh

SIDE = 176  # pixels of a picture in the page
MOST_DRAWN = 6000  # points
PREFERRED = ("render", "picture", "photo")  # kinds of images, the one that shows a shape best first


def picture_of_image(image: np.ndarray) -> str:
    """An image, uint8 [h, w, 3], as a square JPEG of at most `SIDE` pixels in a `data:` address.

    Examples:
        >>> from PIL import Image
        >>> head, data = picture_of_image(np.zeros((300, 200, 3), np.uint8)).split(",")
        >>> head, Image.open(io.BytesIO(base64.b64decode(data))).size
        ('data:image/jpeg;base64', (176, 176))
    """
    return _encoded(fit_square(image, min(SIDE, max(image.shape[:2]))), "JPEG")


def picture_of_points(points: np.ndarray) -> str:
    """A point cloud, float [n, 3 or more], y up, as `drawing_of_points` draws it, in a `data:` address.

    Examples:
        >>> from PIL import Image
        >>> head, data = picture_of_points(np.eye(3)).split(",")
        >>> head, Image.open(io.BytesIO(base64.b64decode(data))).size
        ('data:image/png;base64', (176, 176))
    """
    return _encoded(drawing_of_points(points, SIDE), "PNG")


def drawing_of_points(points: np.ndarray, side: int, azimuth: float = 35.0) -> np.ndarray:
    """A point cloud as it is seen from the front right and above, or from another side.

    Orthographic; near points are darker and hide those behind them.

    Args:
        points: float [n, 3 or more], y up.
        side: of the picture, pixels.
        azimuth: from where it is seen, degrees: 0 looks from +z, 90 from +x.

    Returns:
        uint8 [side, side, 3].

    Examples:
        >>> drawing = drawing_of_points(np.eye(3), side=32)
        >>> drawing.shape, int((drawing < 255).any(axis=2).sum())  # three points of four pixels
        ((32, 32, 3), 12)
    """
    xyz = np.asarray(points, dtype=np.float64)[:, :3]
    xyz = xyz - (xyz.min(axis=0) + xyz.max(axis=0)) / 2
    xyz /= max(float(np.linalg.norm(xyz, axis=1).max()), 1e-12)
    turn, elevation = np.radians(azimuth), np.radians(20)
    right = np.array([np.cos(turn), 0, -np.sin(turn)])
    toward = np.array([np.sin(turn) * np.cos(elevation), np.sin(elevation), np.cos(turn) * np.cos(elevation)])
    up = np.cross(toward, right)
    depth = xyz @ toward
    order = np.argsort(depth)[::-1]  # from near to far
    radius = side / 2 - min(6, side / 8)
    column = np.round(side / 2 + (xyz @ right)[order] * radius).astype(int)
    line = np.round(side / 2 - (xyz @ up)[order] * radius).astype(int)
    far, near = np.array([176, 196, 222]), np.array([28, 60, 110])
    shades = (far + (depth[order, None] + 1) / 2 * (near - far)).astype(np.uint8)
    # each point covers four pixels, and each pixel shows the first of its points
    pixels = (line[:, None] - [1, 1, 0, 0]) * side + column[:, None] - [1, 0, 1, 0]
    shown, first = np.unique(pixels, return_index=True)
    canvas = np.full((side * side, 3), 255, dtype=np.uint8)
    canvas[shown] = shades[first // 4]
    return canvas.reshape(side, side, 3)


def picture_of_file(path: str | Path, up: str = "y") -> str:
    """A picture of a query file: an image as it is, a mesh or `.npy` point cloud as points; "" if unreadable.

    Args:
        path: the file.
        up: "y" or "z", the up axis of a mesh or point cloud.

    Examples:
        >>> picture_of_file("demo/dataset/renders/chair.chair_000.obj/00.jpg").split(",")[0]
        'data:image/jpeg;base64'
        >>> picture_of_file("demo/dataset/points/chair.chair_000.obj.npy").split(",")[0]
        'data:image/png;base64'
        >>> picture_of_file("demo/no_such.obj")
        ''
    """
    try:
        kind = kind_of_file(path)
        if kind == "points":
            return picture_of_points(some_points(load_points_file(path, up)))
        if kind == "mesh":
            return picture_of_points(some_points(points_of_mesh(path, MOST_DRAWN, up)))
        return picture_of_image(load_image(path))
    except CmahError:
        return ""


def some_points(points: np.ndarray) -> np.ndarray:
    """Evenly chosen points of a cloud, [n, …], 6000 at most, to be drawn.

    Examples:
        >>> some_points(np.zeros((20_000, 3))).shape
        (5000, 3)
    """
    return points[:: -(-len(points) // MOST_DRAWN)]


class DatasetPictures:
    """Pictures and categories of a dataset folder's shapes and images, by id.

    Args:
        dataset: the dataset folder. An id that a shape and an image share means the shape, unless `picture` is asked
            for an image.

    Examples:
        >>> pictures = DatasetPictures(Dataset.read("demo/dataset"))
        >>> pictures.category("chair.chair_000.obj_01"), pictures.category("no such id")
        ('chair', '')
        >>> pictures.picture("chair.chair_000.obj").split(",")[0]
        'data:image/jpeg;base64'
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._shapes = {shape.shape_id: shape for shape in dataset.shapes}
        self._images = {image.image_id: image for image in dataset.images}
        self._by_path = {dataset.file(image.path).resolve(): image.image_id for image in dataset.images}
        clouds = [shape for shape in dataset.shapes if shape.points]
        self._by_path |= {dataset.file(shape.points).resolve(): shape.shape_id for shape in clouds}
        self._views = dataset.views()
        self.picture = lru_cache(maxsize=4096)(self._picture)

    def category(self, name: str) -> str:
        """The category of a shape, an image, or a file of the dataset; "" if unknown."""
        row = self._shapes.get(name) or self._images.get(name) or self._images.get(self._id_of_file(name))
        row = row or self._shapes.get(self._id_of_file(name))
        return row.category if row else ""

    def _id_of_file(self, name: str) -> str:
        return self._by_path.get(Path(name).resolve(), "")

    def _picture(self, name: str, modality: str = "") -> str:
        """The image of this id, or the first render of the shape (else a picture, its points, a photo); "" if none."""
        try:
            if name in self._shapes and not (modality == "image" and name in self._images):
                shape, every = self._shapes[name], self._views[name]
                views = [image for image in every if image.kind != "photo" or not shape.points]
                if views:
                    first = min(views, key=lambda image: (PREFERRED.index(image.kind), image.view or 0))
                    return picture_of_image(load_image(self.dataset.file(first.path)))
                return picture_of_points(self.dataset.load_points(shape))
            if name in self._images:
                return picture_of_image(load_image(self.dataset.file(self._images[name].path)))
        except CmahError:
            return ""  # a missing picture costs one empty frame, not the page
        return ""


def _encoded(image: np.ndarray, file_format: str) -> str:
    """An image, uint8 [h, w, 3], as a file of "JPEG" or "PNG" in a `data:` address."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, file_format, quality=82, optimize=True)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"

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
    """A point cloud, float [n, 3 or more], y up, seen from the front right and above, in a `data:` address.

    Orthographic; near points are darker and hide those behind them.

    Examples:
        >>> from PIL import Image
        >>> head, data = picture_of_points(np.eye(3)).split(",")
        >>> head, Image.open(io.BytesIO(base64.b64decode(data))).size
        ('data:image/png;base64', (176, 176))
    """
    xyz = np.asarray(points, dtype=np.float64)[:, :3]
    xyz = xyz - (xyz.min(axis=0) + xyz.max(axis=0)) / 2
    xyz /= max(float(np.linalg.norm(xyz, axis=1).max()), 1e-12)
    azimuth, elevation = np.radians(35), np.radians(20)
    right = np.array([np.cos(azimuth), 0, -np.sin(azimuth)])
    toward = np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )
    up = np.cross(toward, right)
    column = np.round(SIDE / 2 + xyz @ right * (SIDE / 2 - 6)).astype(int)
    line = np.round(SIDE / 2 - xyz @ up * (SIDE / 2 - 6)).astype(int)
    depth = xyz @ toward
    far, near = np.array([176, 196, 222]), np.array([28, 60, 110])
    canvas = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    for i in np.argsort(depth):  # from far to near
        nearness = (depth[i] + 1) / 2
        canvas[line[i] - 1 : line[i] + 1, column[i] - 1 : column[i] + 1] = far + nearness * (near - far)
    return _encoded(canvas, "PNG")


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
            return _picture_of_some(load_points_file(path, up))
        if kind == "mesh":
            return _picture_of_some(points_of_mesh(path, MOST_DRAWN, up))
        return picture_of_image(load_image(path))
    except CmahError:
        return ""


def _picture_of_some(points: np.ndarray) -> str:
    """The picture of evenly chosen points of a cloud: each is drawn by itself."""
    return picture_of_points(points[:: -(-len(points) // MOST_DRAWN)])


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

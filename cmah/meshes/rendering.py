"""Views of a mesh by ray casting (Embree): no display, no graphics library, no GPU.

A perspective camera on a sphere looks at the origin and frames the unit sphere. Light: a headlight, a lamp above
the camera's left shoulder and ambient light, on both sides of every face. 2 x 2 rays a pixel.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from cmah.meshes.mesh import Mesh, surface_colours

FIELD_OF_VIEW = 30.0
# at this distance from the origin the unit sphere touches the frame
DISTANCE = 1 / np.sin(np.radians(FIELD_OF_VIEW / 2))
HALF_WIDTH = np.tan(np.radians(FIELD_OF_VIEW / 2))
OVERSAMPLING = 2
AMBIENT, HEADLIGHT, LAMP = 0.38, 0.37, 0.25
LAMP_DIRECTION = np.array([-0.5, 0.7, 0.5], np.float32) / np.float32(
    np.sqrt(0.99)
)  # right, up, towards camera
# black surfaces reflect this much, or a black object would be a flat silhouette
LEAST_REFLECTION = 0.05
MAX_LAYERS = 12
# degrees of azimuth and elevation by which a camera is turned that sees nothing
TURNS = ((5.0, 0.0), (0.0, 5.0), (20.0, 10.0))
RAYS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Camera:
    """The direction from which a view is taken.

    Attributes:
        azimuth: degrees about the up axis; 0 looks at the shape from +z, 90 from +x.
        elevation: degrees above the horizon.

    Examples:
        >>> (Camera(azimuth=90, elevation=0).axes().round(3) + 0).tolist()  # the eye lies at +x
        [[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """

    azimuth: float
    elevation: float

    def axes(self) -> np.ndarray:
        """Float64 [3, 3]: the directions right, up and back (from the origin to the eye)."""
        azimuth, elevation = np.radians(self.azimuth), np.radians(self.elevation)
        back = np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )
        right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
        return np.stack([right, np.cross(back, right), back])


def ring_of_cameras(
    views: int,
    elevations: tuple[float, ...] = (20.0,),
    jitter: float = 0.0,
    generator: np.random.Generator | None = None,
) -> list[Camera]:
    """Cameras at azimuth 360 / views x v, the elevations taken in turn.

    Args:
        views: number of cameras.
        elevations: elevations in degrees; camera v has the one numbered v modulo their count.
        jitter: largest random deviation of azimuth and elevation, degrees; 0: none.
        generator: the source of the jitter; needed unless jitter is 0.

    Returns:
        `views` cameras, azimuth in [0, 360), elevation in [-89, 89], rounded to hundredths of a degree.

    Examples:
        >>> ring_of_cameras(2, (0.0, 40.0))
        [Camera(azimuth=0.0, elevation=0.0), Camera(azimuth=180.0, elevation=40.0)]
    """
    offsets = np.zeros((views, 2))
    if jitter and generator is not None:
        offsets = generator.uniform(-jitter, jitter, (views, 2))
    cameras = []
    for view, (turn, lift) in enumerate(offsets.tolist()):
        azimuth = round((360 / views * view + turn) % 360, 2) % 360
        elevation = round(min(max(elevations[view % len(elevations)] + lift, -89.0), 89.0), 2)
        cameras.append(Camera(azimuth, elevation))
    return cameras


def render(mesh: Mesh, cameras: list[Camera], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Render views on white.

    Args:
        mesh: normalised to the unit sphere.
        cameras: one for each view.
        size: width and height in pixels.

    Returns:
        Images uint8 [views, size, size, 3] and masks uint8 [views, size, size] (255 = object, between the two
        at its edges and where it is transparent).

    Examples:
        >>> from cmah.meshes.mesh_loading import load_mesh
        >>> chair = load_mesh("demo/meshes/chair/chair_000.obj")
        >>> images, masks = render(chair, ring_of_cameras(4), 32)
        >>> images.shape, masks.shape
        ((4, 32, 32, 3), (4, 32, 32))
        >>> images[0, 0, 0].tolist(), int(masks[0, 0, 0]), int(masks.max())  # a corner is background
        ([255, 255, 255], 0, 255)
    """
    scene = EmbreeScene(robust=True)  # not robust, rays slip through the edges between faces
    TriangleMesh(scene=scene, vertices=mesh.vertices, indices=mesh.faces)
    images = np.empty((len(cameras), size, size, 3), np.uint8)
    masks = np.empty((len(cameras), size, size), np.uint8)
    for view, camera in enumerate(cameras):
        images[view], masks[view] = _render_view(scene, mesh, camera.axes().astype(np.float32), size)
    return images, masks


def render_seen(mesh: Mesh, cameras: list[Camera], size: int) -> tuple[np.ndarray, np.ndarray, list[Camera]]:
    r"""Render views as `render` does; a camera that looks along a flat shape, and so sees nothing, is turned a little.

    Returns:
        Images uint8 [views, size, size, 3], masks uint8 [views, size, size], and the cameras as they were turned. A
        view is empty only if the shape is too thin to be seen from there at all.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_loading import load_mesh
        >>> _ = Path("sheet.off").write_text("OFF\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n")
        >>> _, masks, cameras = render_seen(load_mesh("sheet.off"), ring_of_cameras(4), 64)
        >>> [camera.azimuth for camera in cameras], bool(masks.any(axis=(1, 2)).all())
        ([0.0, 95.0, 180.0, 275.0], True)
    """
    images, masks = render(mesh, cameras, size)
    cameras = list(cameras)
    for azimuth, elevation in TURNS:
        empty = np.flatnonzero(~masks.any(axis=(1, 2))).tolist()
        if not empty:
            break
        turned = [
            Camera((cameras[view].azimuth + azimuth) % 360, min(cameras[view].elevation + elevation, 89.0))
            for view in empty
        ]
        again, covered = render(mesh, turned, size)
        for view, camera, image, mask in zip(empty, turned, again, covered, strict=True):
            if mask.any():
                images[view], masks[view], cameras[view] = image, mask, camera
    return images, masks, cameras


def _render_view(
    scene: EmbreeScene, mesh: Mesh, axes: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One view: image uint8 [size, size, 3] and mask uint8 [size, size]."""
    image = np.full((size, size, 3), 255, np.uint8)
    mask = np.zeros((size, size), np.uint8)
    # only rays within the bounding rectangle of the projected vertices can hit the shape
    seen = mesh.vertices @ axes.T
    seen = seen[:, :2] / ((np.float32(DISTANCE) - seen[:, 2:]) * np.float32(HALF_WIDTH))
    low, high = (np.array([seen.min(axis=0), seen.max(axis=0)]) * [1, -1] + 1) * size / 2
    left, right = _pixels(low[0], high[0], size)
    top, bottom = _pixels(high[1], low[1], size)
    directions = _directions(size)[
        OVERSAMPLING * top : OVERSAMPLING * bottom, OVERSAMPLING * left : OVERSAMPLING * right
    ]
    # in blocks of rows, whose arrays stay in the processor's cache, and which bound the memory of large views
    step = max(1, RAYS_AT_ONCE // (OVERSAMPLING * directions.shape[1])) * OVERSAMPLING
    for start in range(0, len(directions), step):
        rays = directions[start : start + step]
        towards = np.ascontiguousarray(rays.reshape(-1, 3) @ axes)
        origins = np.broadcast_to(axes[2] * np.float32(DISTANCE), towards.shape).copy()
        colour, coverage = _cast(scene, mesh, axes, origins, towards)
        covered = _pooled(coverage.reshape(*rays.shape[:2], 1))
        blended = _pooled(colour.reshape(rays.shape)) + (1 - covered)
        rows = slice(top + start // OVERSAMPLING, top + start // OVERSAMPLING + len(covered))
        image[rows, left:right] = (blended * 255 + np.float32(0.5)).clip(0, 255)
        mask[rows, left:right] = (covered[..., 0] * 255 + np.float32(0.5)).clip(0, 255)
    return image, mask


def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
    """The range of pixels that holds the interval, at least one."""
    first = int(np.clip(np.floor(low - 0.01), 0, size - 1))
    return first, int(np.clip(np.ceil(high + 0.01), first + 1, size))


@lru_cache(maxsize=4)
def _directions(size: int) -> np.ndarray:
    """Ray directions as (right, up, back = -1) of the camera, float32 [2 size, 2 size, 3], the top row first."""
    rays = OVERSAMPLING * size
    across = ((np.arange(rays) + 0.5) / rays * 2 - 1) * HALF_WIDTH
    grid = np.empty((rays, rays, 3), np.float32)
    grid[..., 0], grid[..., 1], grid[..., 2] = across, -across[:, None], -1
    return grid


def _pooled(values: np.ndarray) -> np.ndarray:
    """The mean over the 2 x 2 rays of each pixel."""
    rows = values[0::2] + values[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)


def _cast(
    scene: EmbreeScene, mesh: Mesh, axes: np.ndarray, origins: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow rays to the first opaque surface.

    Returns:
        Colour float32 [n, 3], premultiplied with coverage, and coverage float32 [n] in 0..1.
    """
    colour = np.zeros((len(origins), 3), np.float32)
    coverage = np.zeros(len(origins), np.float32)
    rays = np.arange(len(origins))
    for _ in range(1 if mesh.opaque else MAX_LAYERS):
        result = scene.run(origins, directions, output=1)
        hit = np.flatnonzero(result["primID"] >= 0)
        if len(hit) == 0:
            break
        faces, u, v = result["primID"][hit], result["u"][hit], result["v"][hit]
        weights = np.stack([1 - u - v, u, v], axis=1)
        rgba = surface_colours(mesh, faces, weights)
        light = _brightness(mesh, axes, faces, weights, directions[hit])[:, None]
        lit = (rgba[:, :3] * np.float32(1 - LEAST_REFLECTION) + np.float32(LEAST_REFLECTION)) * light
        rays = rays[hit]
        if mesh.opaque:
            colour[rays], coverage[rays] = lit, 1
            break
        # from front to back ("over" of Porter & Duff 1984): what lies in front hides its part of what lies behind
        opacity = rgba[:, 3] * (1 - coverage[rays])
        colour[rays] += opacity[:, None] * lit
        coverage[rays] += opacity
        onward = np.flatnonzero(coverage[rays] < 0.98)
        if len(onward) == 0:
            break
        # go on from a little behind the surface, so as not to hit it again
        rays, directions, distance = rays[onward], directions[hit[onward]], result["tfar"][hit[onward]]
        origins = origins[hit[onward]] + directions * (distance + np.float32(1e-4))[:, None]
    return colour, coverage


def _brightness(
    mesh: Mesh, axes: np.ndarray, faces: np.ndarray, weights: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Diffuse light float32 [n] on the side of each face that the ray meets."""
    normals = mesh.face_normals[faces]
    if mesh.normals is not None:
        at = np.flatnonzero(mesh.smooth[faces])
        smooth = np.einsum("nc,ncd->nd", weights[at], mesh.normals[mesh.faces[faces[at]]])
        # normals of opposite signs at the corners may cancel out in between: no division by (almost) zero
        length = np.sqrt(np.einsum("nd,nd->n", smooth, smooth)).clip(1e-3)[:, None]
        normals[at] = smooth / length
    length = np.sqrt(np.einsum("nd,nd->n", directions, directions))
    facing = np.einsum("nd,nd->n", normals, directions) / length
    lamp = normals @ (LAMP_DIRECTION @ axes)
    # a ray that meets the back of a face sees the side that the opposite normal belongs to
    lamp = np.where(facing > 0, -lamp, lamp).clip(0)
    return np.float32(AMBIENT) + np.float32(HEADLIGHT) * np.abs(facing) + np.float32(LAMP) * lamp


def warm_up() -> None:
    """Start Embree's threads while the process is bound to one core, and let BLAS take its memory before a limit.

    Examples:
        >>> warm_up()  # before the limit; Embree answers from now on
        >>> scene = EmbreeScene()
        >>> corners, face = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32)
        >>> _ = TriangleMesh(scene=scene, vertices=corners, indices=face)
        >>> ray = np.ones((1, 3), np.float32)
        >>> scene.run(ray, -ray, output=1)["primID"].tolist()  # it hits face 0
        [0]
    """
    np.ones((400, 400)) @ np.ones((400, 400))
    scene = EmbreeScene(robust=True)
    TriangleMesh(scene=scene, vertices=np.eye(3, dtype=np.float32), indices=np.array([[0, 1, 2]], np.int32))
    scene.run(np.ones((1, 3), np.float32), -np.ones((1, 3), np.float32), output=1)

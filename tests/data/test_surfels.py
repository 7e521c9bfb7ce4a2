"""Views drawn from points: what they show, whatever the cloud, and that nothing but the cloud matters."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from cmah.data.surfels import ELEVATION, LENS, draw_views


def sphere(n, seed=0):
    points = np.random.default_rng(seed).standard_normal((n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_a_sphere_is_a_grey_disc_without_holes():
    views = draw_views(sphere(2048), views=4, size=96)
    assert views.shape == (4, 3, 96, 96)
    assert views.dtype == np.uint8
    assert (views[:, 0] == views[:, 1]).all()
    assert (views[:, 0] == views[:, 2]).all()
    rows, columns = np.mgrid[:96, :96] + 0.5 - 48
    radius = np.hypot(rows, columns)
    for view in views:
        assert (view[0][radius < 44] < 200).all()  # the sphere touches the frame
        assert (view[0][radius > 51] == 255).all()
        # lit from above the left shoulder
        assert view[0][20:30, 30:40].mean() > view[0][66:76, 56:66].mean()


def test_azimuth_and_elevation_are_those_of_prepare():
    """A small block of points lies where the camera of `ring_of_cameras` sees it."""
    from cmah.meshes.rendering import ring_of_cameras

    rng = np.random.default_rng(0)
    block = rng.uniform(-1, 1, (600, 3)) * [0.02, 0.02, 0.02] + [0.5, 0.2, 0.45]
    # corners of a cube fix the frame
    cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / np.sqrt(3)
    size = 200
    for view, camera in zip(
        draw_views(np.concatenate([block, cube]), 5, size), ring_of_cameras(5), strict=True
    ):
        assert camera.elevation == ELEVATION
        x, y, z = camera.axes() @ [0.5, 0.2, 0.45]
        scale = size / 2 / LENS[1] / (LENS[0] - z)
        column, row = size / 2 + scale * x, size / 2 - scale * y
        assert view[0, int(row), int(column)] < 250


def test_near_surfaces_hide_far_ones():
    """Two plates of other colours: from the front one is seen, from behind the other."""
    rng = np.random.default_rng(0)
    plates = []
    for z, colour in ((0.5, [0.9, 0.0, 0.0]), (-0.5, [0.0, 0.0, 0.9])):
        points = np.concatenate([rng.uniform(-0.7, 0.7, (1500, 2)), np.full((1500, 1), z)], axis=1)
        plates.append(np.concatenate([points, np.tile(colour, (1500, 1))], axis=1))
    cloud = np.concatenate(plates)
    front, back = draw_views(cloud, 2, 64, colours=True)[:, :, 40, 32].astype(int)
    assert front[0] > front[2] + 50
    assert back[2] > back[0] + 50
    grey = draw_views(cloud, 2, 64)
    np.testing.assert_array_equal(grey, draw_views(cloud[:, :3], 2, 64, colours=True))
    assert (grey[:, 0] == grey[:, 2]).all()


CLOUDS = {
    "one point": np.zeros((1, 3)),
    "all equal": np.full((50, 3), 7.0),
    "two": np.array([[0.0, 0, 0], [1, 0, 0]]),
    "nine": sphere(9),
    "ten": sphere(10),
    "line up": np.linspace([0, -1, 0], [0, 1, 0], 500),
    "line along x": np.linspace([-1.0, 0, 0], [1.0, 0, 0], 500),
    "plane seen edge-on": np.random.default_rng(0).random((800, 3)) * [0, 1, 1],
    "repeated": np.tile(sphere(100), (20, 1)),
    "huge": sphere(300) * 1e30,
    "tiny": sphere(300) * 1e-30,
    "far away": sphere(300) + 1e4,
    "one stray point": np.concatenate([sphere(500) * 1e-3, [[1.0, 1, 1]]]),
    "one stray among equal ones": np.concatenate([np.zeros((500, 3)), [[1.0, 1, 1]]]),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_every_cloud_gives_a_picture(name):
    with np.errstate(all="raise"):
        views = draw_views(CLOUDS[name], 6, 48)
    shown = (views < 255).any(axis=(1, 2, 3))
    assert shown.all()
    if len(CLOUDS[name]) >= 50:
        assert (views[:, :, 0, 0] == 255).all()
    if name != "huge":
        for dtype in (np.float16, np.float32):
            assert (draw_views(CLOUDS[name].astype(dtype), 1, 8) < 255).any()


def test_only_the_set_of_points_matters():
    """Not their order, repetitions, place or size; and not what is drawn beside them."""
    cloud = np.round(sphere(700) * [1, 0.4, 0.7] * 1024) / 1024
    views = draw_views(cloud, 3, 64)
    rng = np.random.default_rng(2)
    again = cloud[rng.permutation(np.concatenate([np.arange(700), rng.integers(700, size=300)]))]
    np.testing.assert_array_equal(draw_views(again, 3, 64), views)
    np.testing.assert_array_equal(draw_views(cloud * 8 + 16, 3, 64), views)
    np.testing.assert_array_equal(draw_views(cloud.astype(np.float32), 3, 64), views)
    np.testing.assert_array_equal(draw_views(cloud, 6, 64)[[0, 2, 4]], views)


def test_threads_do_not_matter():
    clouds = [sphere(400, seed) for seed in range(4)]
    expected = [draw_views(cloud, 2, 48) for cloud in clouds]
    results = {}

    def draw(number):
        results[number] = [draw_views(cloud, 2, 48) for cloud in clouds]

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for drawn in results.values():
        np.testing.assert_array_equal(drawn, expected)
    code = (
        "import sys, numpy as np; from cmah.data.surfels import draw_views\n"
        "cloud = np.frombuffer(sys.stdin.buffer.read()).reshape(-1, 3)\n"
        "sys.stdout.buffer.write(draw_views(cloud, 2, 48).tobytes())"
    )
    for count in ("1", "4"):
        environment = {**os.environ, "OMP_NUM_THREADS": count, "NUMBA_NUM_THREADS": count}
        result = subprocess.run(
            [sys.executable, "-c", code],
            input=clouds[0].tobytes(),
            capture_output=True,
            check=True,
            env=environment,
        )
        assert result.stdout == expected[0].tobytes()


def test_many_points_are_thinned_evenly():
    cloud = sphere(40_000)
    views = draw_views(cloud, 1, 64)
    rows, columns = np.mgrid[:64, :64] + 0.5 - 32
    assert (views[0, 0][np.hypot(rows, columns) < 29] < 200).all()


@pytest.mark.parametrize(
    ("cloud", "options", "message"),
    [
        (np.zeros((0, 3)), {}, r"expected a cloud \[n, 3\] or \[n, 6\]"),
        (np.zeros((4, 4)), {}, r"got shape \(4, 4\)"),
        (np.full((4, 3), np.nan), {}, "not finite"),
        (np.ones((4, 3)), {"views": 0}, "at least 1 view"),
        (np.ones((4, 3)), {"size": 0}, "at least 1 view of 1 pixel"),
    ],
)
def test_what_is_refused(cloud, options, message):
    with pytest.raises(ValueError, match=message):
        draw_views(cloud, **options)

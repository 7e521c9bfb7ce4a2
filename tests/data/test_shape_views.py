"""Which renders describe a shape, and that none that asks is among them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cmah.data.dataset import Image
from cmah.data.shape_views import describing_views, drawn_views


def renders(count):
    return [Image(f"r{i}", "s", "", "", f"{i}.jpg", "render") for i in range(count)]


@given(st.integers(0, 30), st.integers(1, 15))
def test_even_and_odd_share_nothing(count, views):
    images = [*renders(count), Image("p", "s", "", "", "p.jpg", "photo")]
    even, odd = (describing_views(images, views, which) for which in ("even", "odd"))
    assert not {image.image_id for image in even} & {image.image_id for image in odd}
    assert len(even) == min(views, -(-count // 2))
    assert len(odd) == min(views, count // 2)
    every = describing_views(images, views)
    assert len(every) == min(views, count)
    assert all(image.kind == "render" for image in [*even, *odd, *every])
    assert [*map(images.index, every)] == sorted({*map(images.index, every)})


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 99))
def test_what_asks_does_not_describe(count, views, seed):
    for asked in range(count):
        drawn = drawn_views(range(count), asked, views, np.random.default_rng(seed))
        assert len(drawn) == len({*drawn}) == max(1, min(views, count - 1))
        assert asked not in drawn or count == 1

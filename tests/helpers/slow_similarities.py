"""Similarities of shapes by their definitions, view by view, and views to compute them of."""

import numpy as np

from cmah.negatives.similarities import i2i, i2i_all_pairs, i2l2, i2l2_all_pairs


def slow_similarity(measure, views, landmarks=None):
    """The definitions, view by view; rows of zeros are views that are not there."""
    n, out = len(views), np.empty((len(views), len(views)))
    own = [[v / np.linalg.norm(v) if v.any() else None for v in shape] for shape in views.astype(float)]
    if landmarks is not None:
        landmarks = landmarks / np.linalg.norm(landmarks, axis=1, keepdims=True)
    for i in range(n):
        for j in range(n):
            if measure.endswith("all_pairs"):
                pairs = [(a, b) for a in own[i] for b in own[j]]
            else:
                pairs = list(zip(own[i], own[j], strict=True))
            pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
            if i == j:
                out[i, j] = 1
            elif not pairs:
                out[i, j] = 0.5
            elif landmarks is None:
                out[i, j] = (np.mean([a @ b for a, b in pairs]) + 1) / 2
            else:
                distances = [np.linalg.norm(landmarks @ a - landmarks @ b) for a, b in pairs]
                out[i, j] = 1 / (1 + np.mean(distances))
    return out


def fast(measure, views, landmarks):
    if measure.startswith("i2l2"):
        return {"i2l2": i2l2, "i2l2_all_pairs": i2l2_all_pairs}[measure](views, landmarks)
    return {"i2i": i2i, "i2i_all_pairs": i2i_all_pairs}[measure](views)


def some_views(seed=0, n=13, views=4, width=8):
    """Views of a shape are alike, as those of shapes of one category are."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=(1, 1, width)) * 2 + rng.normal(size=(n, 1, width))
    return shape + 0.5 * rng.normal(size=(n, views, width)), rng.normal(size=(5, width))

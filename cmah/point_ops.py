"""Operations on batches of point clouds as torch tensors; chooses the backend.

Three backends, with the same results to the bit where they overlap: "torch" (the reference, on any device),
"numba" (CPU) and "pointnet2" (the CUDA extension pointnet2_ops, where installed). "auto" takes Numba on the CPU.
On CUDA it takes pointnet2_ops only if that supports the call, else torch: its farthest-point sampling always starts at
point 0 and never picks a point with a squared norm up to 1e-3 (near the origin), which depends on where the cloud
happens to lie. Here that rule is off unless `skip_origin` asks for it (encoders trained with it need it), and
pointnet2_ops is not used then, since shifting the cloud away from the origin would change the rounding.
pointnet2_ops may fuse multiply-adds: where two distances differ by a rounding only, it may decide otherwise.

Squared distances come from coordinate differences, (dx² + dy²) + dz², never from |a|² + |b|² - 2ab, whose
cancellation swaps neighbours. Half precision is computed as float32.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmah.point_backends import chosen_backend, pointnet2_utils
from cmah.threads import in_threads

# Number of distances that the torch backend holds at a time: 2^24 take 64 MB
CHUNK = 1 << 24
# Number of distances below which starting threads costs more time than it saves
WORTH_THREADS = 1 << 18


def farthest_points(
    xyz: Tensor, m: int, *, start: int | Tensor = 0, skip_origin: bool = False, backend: str = "auto"
) -> Tensor:
    """Farthest-point sampling: each pick is the point farthest from all picks before it.

    Args:
        xyz: [b, n, 3].
        m: number of picks; beyond n, or when only repeated points are left, index 0 is picked again.
        start: index of the first pick, or of each cloud's as a tensor [b].
        skip_origin: never pick points with x² + y² + z² <= 1e-3 after the first, as pointnet2_ops does.
        backend: "auto", "torch", "numba" or "pointnet2".

    Returns:
        int64 [b, m]; on ties the smallest index wins.

    Raises:
        ValueError: for m < 1, a start outside the cloud, another shape, or a backend that cannot do it.

    Examples:
        >>> xyz = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]])
        >>> farthest_points(xyz, 2)
        tensor([[0, 2]])
    """
    xyz = _points(xyz)
    b, n, _ = xyz.shape
    plain_start = isinstance(start, int) and start == 0
    chosen = chosen_backend(backend, xyz, skip_origin and plain_start)
    starts = torch.as_tensor(start, device=xyz.device).expand(b).long()
    if not (m >= 1 and n >= 1 and bool(((starts >= 0) & (starts < n)).all())):
        raise ValueError(f"expected m of at least 1 and start in 0..{n - 1}, got m = {m}, start = {start}")
    if chosen == "pointnet2":
        return pointnet2_utils().furthest_point_sample(xyz, m).long()
    if chosen == "numba":
        cloud, first, picks = xyz.numpy(), starts.numpy(), np.empty((b, m), np.int64)

        def run(part: slice) -> None:
            _kernels().farthest_points(cloud[part], first[part], skip_origin, picks[part])

        _in_threads(run, b, b * m * n)
        return torch.from_numpy(picks)
    nearest_pick = torch.full((b, n), torch.inf, dtype=xyz.dtype, device=xyz.device)
    if skip_origin:
        near = _squared(xyz, torch.zeros_like(xyz[:, :1])).double() <= _kernels().NEAR_ORIGIN
        nearest_pick[near] = -1
    result = torch.empty((b, m), dtype=torch.int64, device=xyz.device)
    result[:, 0] = starts
    for i in range(1, m):
        last = gather(xyz, result[:, i - 1 : i])
        nearest_pick = torch.minimum(nearest_pick, _squared(xyz, last))
        result[:, i] = nearest_pick.argmax(dim=1)
    return result


def nearest(query: Tensor, xyz: Tensor, k: int, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """The k nearest points of each query, exactly.

    Args:
        query: [b, m, 3].
        xyz: [b, n, 3], n >= k.
        k: number of neighbours.
        backend: "auto", "torch" or "numba".

    Returns:
        (index int64 [b, m, k], squared distances [b, m, k]), ordered by (distance, index); without gradient.

    Raises:
        ValueError: for k outside 1..n, another shape, or a backend that cannot do it.

    Examples:
        >>> xyz = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]])
        >>> nearest(torch.tensor([[[2.5, 0, 0]]]), xyz, 2)
        (tensor([[[2, 1]]]), tensor([[[0.2500, 2.2500]]]))
    """
    query, xyz = _points(query), _points(xyz)
    (b, m, _), n = query.shape, xyz.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"expected k in 1..{n} (the number of points), got {k}")
    if chosen_backend(backend, xyz) == "numba":
        index = np.empty((b, m, k), np.int64)
        a, cloud = query.numpy(), xyz.numpy()
        squared = np.empty((b, m, k), cloud.dtype)

        def run(part: slice) -> None:
            _kernels().nearest(a[part], cloud[part], index[part], squared[part])

        _in_threads(run, b, b * m * n)
        return torch.from_numpy(index), torch.from_numpy(squared)

    def k_smallest(distance: Tensor) -> Tensor:
        if k == 1:
            return distance.argmin(dim=2, keepdim=True)
        if distance.dtype == torch.float64:
            return distance.sort(dim=2, stable=True).indices[..., :k]
        # the bits of non-negative floats, read as integers, sort as the floats do; with the index in the lower half, no
        # two keys are equal, so that ties are broken by the index
        keys = (distance.view(torch.int32).long() << 32) | torch.arange(n, device=distance.device)
        return keys.topk(k, dim=2, largest=False).values & 0xFFFFFFFF

    position = _by_rows(query, xyz, k_smallest)
    neighbours = gather(xyz, position)
    return position, _squared(neighbours, query[:, :, None])


def ball_query(
    query: Tensor, xyz: Tensor, radius: float, k: int, *, inclusive: bool = False, backend: str = "auto"
) -> Tensor:
    """The first k points, in order of index, within a radius of each query.

    Args:
        query: [b, m, 3].
        xyz: [b, n, 3].
        radius: its square is taken in the precision of `xyz`.
        k: number of places per query.
        inclusive: whether points exactly on the radius count (OpenShape) or not (pointnet2_ops, openpoints).
        backend: "auto", "torch", "numba" or "pointnet2".

    Returns:
        int64 [b, m, k]; places beyond the hits repeat the first hit; without any hit they are 0.

    Raises:
        ValueError: for another shape, or a backend that cannot do it.

    Examples:
        >>> xyz = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]])
        >>> ball_query(xyz[:, 2:], xyz, radius=2.5, k=3)
        tensor([[[1, 2, 1]]])
    """
    query, xyz = _points(query), _points(xyz)
    (b, m, _), n = query.shape, xyz.shape[1]
    chosen = chosen_backend(backend, xyz, not inclusive)
    if chosen == "pointnet2":
        return pointnet2_utils().ball_query(radius, k, xyz, query).long()
    number = np.float32 if xyz.dtype == torch.float32 else np.float64
    squared_radius: Any = number(radius) * number(radius)
    if chosen == "numba":
        index, a, cloud = np.empty((b, m, k), np.int64), query.numpy(), xyz.numpy()

        def run(part: slice) -> None:
            _kernels().ball_query(a[part], cloud[part], squared_radius, inclusive, index[part])

        _in_threads(run, b, b * m * n)
        return torch.from_numpy(index)

    def first_hits(distance: Tensor) -> Tensor:
        # the index where a point is inside, n where it is not: the k smallest are the first hits
        limit = float(squared_radius)
        inside = distance <= limit if inclusive else distance < limit
        ranks = torch.where(inside, torch.arange(n, device=distance.device), n)
        hits = ranks.topk(min(k, n), dim=2, largest=False).values
        hits = torch.where(hits == n, hits[..., :1], hits) % n
        return torch.cat([hits, hits[..., :1].expand(-1, -1, k - hits.shape[2])], dim=2)

    return _by_rows(query, xyz, first_hits)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x [b, n, c] at index [b, ...]: [b, ..., c]; differentiable.

    Examples:
        >>> gather(torch.tensor([[[0, 0, 0], [1, 2, 3]]]), torch.tensor([[1, 0, 1]]))
        tensor([[[1, 2, 3], [0, 0, 0], [1, 2, 3]]])
    """
    flat = index.reshape(index.shape[0], -1, 1).expand(-1, -1, x.shape[2])
    return x.gather(1, flat).reshape(*index.shape, x.shape[2])


def group(
    xyz: Tensor, groups: int, size: int, *, skip_origin: bool = False, backend: str = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """Farthest points as centres, each with its nearest neighbours (Point-MAE, Pang et al. 2022).

    Args:
        xyz: [b, n, 3], n >= size.
        groups: number of centres g.
        size: number of neighbours of each centre, including itself.
        skip_origin: see `farthest_points`.
        backend: "auto", "torch" or "numba".

    Returns:
        centres [b, g, 3], neighbours relative to their centre [b, g, size, 3], their index int64 [b, g, size].

    Examples:
        >>> xyz = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [4, 0, 0]]])
        >>> centres, neighbours, index = group(xyz, groups=2, size=2)
        >>> index, neighbours[..., 0]
        (tensor([[[0, 1], [3, 2]]]), tensor([[[ 0.,  1.], [ 0., -1.]]]))
    """
    centres = gather(xyz, farthest_points(xyz, groups, skip_origin=skip_origin, backend=backend))
    index, _ = nearest(centres, xyz, size, backend=backend)
    return centres, gather(xyz, index) - centres[:, :, None], index


def chamfer(a: Tensor, b: Tensor, squared: bool = True, *, backend: str = "auto") -> Tensor:
    """Chamfer distance of clouds a [c, n, 3] and b [c, m, 3], the mean over the clouds; differentiable in both.

    Args:
        a: float [c, n, 3]; half precision is computed as float32.
        b: float [c, m, 3].
        squared: mean squared distance to the nearest point, from a to b plus from b to a (Point-MAE's Chamfer-L2);
            False: half the sum of the mean distances (its Chamfer-L1), with gradient 0 where a distance is 0.
        backend: "auto", "torch" or "numba".

    Returns:
        Scalar ≥ 0.

    Raises:
        ValueError: for another shape, or a backend that cannot do it.

    Examples:
        >>> chamfer(torch.zeros(1, 2, 3), torch.ones(1, 4, 3))
        tensor(6.)
    """
    if not a.dtype.is_floating_point or a.dtype.itemsize < 4:
        a, b = a.float(), b.float()
    # nearest points are found without gradient; the distances to them are then computed with it
    of_a, of_b = _mutual_nearest(_points(a), _points(b), backend)
    a_to_b = (a - gather(b, of_a)).square().sum(dim=2)
    b_to_a = (b - gather(a, of_b)).square().sum(dim=2)
    if squared:
        return a_to_b.mean() + b_to_a.mean()
    tiny = 1e-30  # the gradient of the root at 0 is infinite, that of the clamp is 0
    return (a_to_b.clamp_min(tiny).sqrt().mean() + b_to_a.clamp_min(tiny).sqrt().mean()) / 2


def _mutual_nearest(a: Tensor, b: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """The index of each point's nearest point in the other cloud: int64 [c, n] into b, [c, m] into a."""
    if chosen_backend(backend, a) == "torch":
        return nearest(a, b, 1, backend="torch")[0][..., 0], nearest(b, a, 1, backend="torch")[0][..., 0]
    first, second = a.numpy(), b.numpy()
    of_a, of_b = np.empty(a.shape[:2], np.int64), np.empty(b.shape[:2], np.int64)

    def run(part: slice) -> None:
        _kernels().mutual_nearest(first[part], second[part], of_a[part], of_b[part])

    _in_threads(run, len(first), first.shape[0] * first.shape[1] * second.shape[1])
    return torch.from_numpy(of_a), torch.from_numpy(of_b)


def _kernels() -> Any:
    """The compiled loops, imported when they are first needed: who encodes pictures only needs no Numba."""
    import cmah.compiling  # noqa: F401 (before the kernels)
    from cmah.kernels import points

    return points


def _points(x: Tensor) -> Tensor:
    """Detached, contiguous, float32 or float64."""
    if x.dim() != 3 or x.shape[2] != 3:
        raise ValueError(f"expected points [b, n, 3], got {list(x.shape)}")
    x = x.detach()
    return (x if x.dtype == torch.float64 else x.float()).contiguous()


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances along the last axis, added in the kernels' order, so that they round the same way."""
    d = (x - y).square()
    return (d[..., 0] + d[..., 1]) + d[..., 2]


def _by_rows(query: Tensor, xyz: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `choose` to the squared distances [b, m, n], `CHUNK` distances at a time."""
    rows = max(1, CHUNK // max(1, xyz.shape[0] * xyz.shape[1]))
    parts = []
    for part in query.split(rows, dim=1):
        x, y, z = ((part[:, :, None, axis] - xyz[:, None, :, axis]).square() for axis in range(3))
        parts.append(choose((x + y) + z))
    return torch.cat(parts, dim=1)


def _in_threads(run: Callable[[slice], None], batch: int, work: int) -> None:
    """Split the clouds among as many threads as torch uses; the result does not depend on the split."""
    count = min(torch.get_num_threads(), batch)
    if count <= 1 or work < WORTH_THREADS:
        run(slice(0, batch))
        return
    edges = [batch * i // count for i in range(count + 1)]
    parts = [slice(*ends) for ends in pairwise(edges)]
    in_threads([partial(run, part) for part in parts], torch.get_num_threads())

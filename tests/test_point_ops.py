"""Point operations: the backends against each other and against the reference outputs."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cmah import point_backends, point_ops
from cmah.point_ops import ball_query, chamfer, farthest_points, gather, group, nearest

BACKENDS = ["torch", "numba"]


@pytest.fixture(scope="module")
def ops(shared):
    with np.load(shared / "goldens/ops/ops.npz") as file:
        return dict(file)


def tensor(array):
    return torch.from_numpy(np.asarray(array))


def clouds(seed, *shape):
    rng = np.random.default_rng(seed)
    # half of them on a coarse grid, so that there are ties
    points = rng.standard_normal((*shape, 3))
    points[::2] = points[::2].round(1) * (points[::2] > -1)
    return tensor(points.astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_backends_agree_to_the_bit(kind):
    xyz = clouds(0, 5, 300).to(kind)
    start = torch.tensor([0, 3, 299, 7, 7])
    for skip in (False, True):
        picks = [farthest_points(xyz, 50, start=start, skip_origin=skip, backend=b) for b in BACKENDS]
        assert torch.equal(*picks)
    query = gather(xyz, picks[0])
    for k in (1, 16, 300):
        (first, d1), (second, d2) = (nearest(query, xyz, k, backend=b) for b in BACKENDS)
        assert torch.equal(first, second)
        assert torch.equal(d1, d2)
        assert d1.dtype == kind
    for inclusive in (False, True):
        found = [ball_query(query, xyz, 0.5, 16, inclusive=inclusive, backend=b) for b in BACKENDS]
        assert torch.equal(*found)
    values = [chamfer(query, xyz, backend=b) for b in BACKENDS]
    assert torch.equal(*values)


def test_chunks_and_threads_change_nothing(monkeypatch):
    xyz = clouds(1, 6, 200)
    query = xyz[:, :37] + 0.1
    whole = [nearest(query, xyz, 8, backend=b)[0] for b in BACKENDS]
    monkeypatch.setattr(point_ops, "CHUNK", 5000)
    monkeypatch.setattr(point_ops, "WORTH_THREADS", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        parts = [nearest(query, xyz, 8, backend=b)[0] for b in BACKENDS]
        picks = farthest_points(xyz, 20)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(whole[0], other) for other in [*whole, *parts])
    assert torch.equal(picks, farthest_points(xyz, 20, backend="torch"))


def test_a_forked_process_can_call_the_threaded_kernels(monkeypatch):
    monkeypatch.setattr(point_ops, "WORTH_THREADS", 0)
    xyz = clouds(2, 4, 100)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = farthest_points(xyz, 10)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(farthest_points(xyz, 10), expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)


def test_half_precision_and_other_layouts_are_taken():
    xyz = clouds(3, 2, 50)
    turned = xyz.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(farthest_points(turned, 9), farthest_points(xyz, 9))
    assert farthest_points(xyz.half(), 9).shape == (2, 9)
    assert nearest(xyz.bfloat16(), xyz.bfloat16(), 3)[1].dtype == torch.float32


def test_a_gradient_passes_through_points_that_choose(monkeypatch):
    xyz = clouds(4, 2, 40).requires_grad_()
    centres, local, index = group(xyz, 5, 7)
    assert centres.shape == (2, 5, 3)
    assert index.shape == (2, 5, 7)
    assert torch.equal(local[:, :, 0], torch.zeros(2, 5, 3))  # a centre is its own nearest neighbour
    centres.sum().backward()
    assert xyz.grad is not None
    assert xyz.grad.sum() == 2 * 5 * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_faulty_arguments_are_refused(backend):
    xyz = clouds(5, 2, 10)
    with pytest.raises(ValueError, match=r"k in 1\.\.10"):
        nearest(xyz, xyz, 11, backend=backend)
    with pytest.raises(ValueError, match=r"start in 0\.\.9"):
        farthest_points(xyz, 3, start=10, backend=backend)
    with pytest.raises(ValueError, match="m of at least 1"):
        farthest_points(xyz, 0, backend=backend)
    with pytest.raises(ValueError, match=r"\[b, n, 3\]"):
        nearest(xyz[..., :2], xyz, 3, backend=backend)


def test_pointnet2_is_refused_where_its_rules_differ():
    xyz = clouds(5, 2, 10)
    with pytest.raises(ValueError, match="skip_origin=True"):
        farthest_points(xyz, 3, backend="pointnet2")
    with pytest.raises(ValueError, match="expected backend"):
        farthest_points(xyz, 3, backend="cuda")


def test_choice_of_backend(monkeypatch):
    def on(device, kind=torch.float32):
        return SimpleNamespace(device=torch.device(device), is_cuda=device == "cuda", dtype=kind)

    assert point_ops.chosen_backend("auto", on("cpu"), True) == "numba"
    for installed, suits, kind, expected in (
        (True, True, torch.float32, "pointnet2"),
        (True, False, torch.float32, "torch"),
        (True, True, torch.float64, "torch"),
        (False, True, torch.float32, "torch"),
    ):
        monkeypatch.setattr(point_backends, "find_spec", lambda name, installed=installed: installed or None)
        assert point_ops.chosen_backend("auto", on("cuda", kind), suits) == expected
    with pytest.raises(ValueError, match="works on the CPU"):
        point_ops.chosen_backend("numba", on("cuda"))


def test_pointnet2_is_called_with_its_own_order_of_arguments(monkeypatch):
    calls = {}

    def furthest_point_sample(xyz, m):
        calls["fps"] = (tuple(xyz.shape), m)
        return torch.zeros(xyz.shape[0], m, dtype=torch.int32)

    def ball(radius, k, xyz, query):
        calls["ball"] = (radius, k, tuple(xyz.shape), tuple(query.shape))
        return torch.zeros(xyz.shape[0], query.shape[1], k, dtype=torch.int32)

    module = SimpleNamespace(furthest_point_sample=furthest_point_sample, ball_query=ball)
    monkeypatch.setattr(point_ops, "pointnet2_utils", lambda: module)
    monkeypatch.setattr(point_ops, "chosen_backend", lambda *_: "pointnet2")
    xyz = clouds(5, 2, 10)
    assert farthest_points(xyz, 3, skip_origin=True).dtype == torch.int64
    assert ball_query(xyz[:, :4], xyz, 0.2, 5).shape == (2, 4, 5)
    assert calls == {"fps": ((2, 10, 3), 3), "ball": (0.2, 5, (2, 10, 3), (2, 4, 3))}


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives():
    xyz = clouds(6, 4, 500)
    on_gpu = xyz.cuda()
    picks = farthest_points(xyz, 64)
    assert torch.equal(farthest_points(on_gpu, 64, backend="torch").cpu(), picks)
    query = gather(xyz, picks)
    index, squared = nearest(query, xyz, 32)
    gpu_index, gpu_squared = nearest(query.cuda(), on_gpu, 32)
    assert torch.equal(gpu_index.cpu(), index)
    assert torch.equal(gpu_squared.cpu(), squared)
    assert torch.equal(
        ball_query(query.cuda(), on_gpu, 0.3, 16, backend="torch").cpu(), ball_query(query, xyz, 0.3, 16)
    )


@pytest.mark.parametrize("squared", [True, False])
def test_chamfer_and_its_gradient_are_those_of_the_formula(squared):
    a, b = clouds(7, 3, 20).double(), clouds(8, 3, 15).double()
    a[0, 0] = b[0, 0]  # a distance of zero has the gradient zero
    a.requires_grad_()
    b.requires_grad_()
    value = chamfer(a, b, squared)
    value.backward()
    first, second = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for c in range(3):
        for one, other in ((first[c], second[c]), (second[c], first[c])):
            for point in one:
                least = min((point - q).square().sum() for q in other)
                least = least if squared else least.sqrt() / 2 if least > 0 else least * 0
                total = total + least / (3 * len(one))
    total.backward()
    torch.testing.assert_close(value, total.detach())
    torch.testing.assert_close(a.grad, first.grad)
    torch.testing.assert_close(b.grad, second.grad)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reference_farthest_points(ops, backend):
    starts = {0: 298, 1: 226, 2: 302, 3: 36, 4: 162, 5: 1086}
    for case, start in starts.items():
        xyz = tensor(ops[f"fps_points_{case}"])[None]
        for key, options in (
            ("fps_skip", {"skip_origin": True}),
            ("fps_plain", {}),
            ("fps_plain_start", {"start": start}),
        ):
            expected = ops[f"{key}_{case}"]
            found = farthest_points(xyz, len(expected), backend=backend, **options)
            np.testing.assert_array_equal(found[0], expected, err_msg=f"{key}_{case}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_reference_neighbours(ops, backend):
    for case in range(4):
        query, xyz = tensor(ops[f"knn_queries_{case}"])[None], tensor(ops[f"knn_points_{case}"])[None]
        expected = ops[f"knn_idx_{case}"]
        index, squared = nearest(query, xyz, expected.shape[1], backend=backend)
        np.testing.assert_array_equal(index[0], expected)
        np.testing.assert_allclose(squared[0], ops[f"knn_sqdist_{case}"], rtol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reference_ball_query(ops, backend):
    for case, radius in ((0, 0.4), (1, 0.1), (2, 0.2), (3, 3.0)):
        query, xyz = tensor(ops[f"ball_queries_{case}"])[None], tensor(ops[f"ball_points_{case}"])[None]
        expected = ops[f"ball_idx_{case}"]
        found = ball_query(query, xyz, radius, expected.shape[1], backend=backend)
        np.testing.assert_array_equal(found[0], expected)
    query, xyz = tensor(ops["ball_queries_exact"])[None], tensor(ops["ball_points_exact"])[None]
    for inclusive, name in ((False, "strict"), (True, "inclusive")):
        expected = ops[f"ball_idx_exact_{name}"]
        radius = exact_radius(ops)
        found = ball_query(query, xyz, radius, expected.shape[1], inclusive=inclusive, backend=backend)
        np.testing.assert_array_equal(found[0], expected)


def exact_radius(ops):
    """The radius on which some of the points lie: the one that the two reference answers differ by."""
    query, xyz = ops["ball_queries_exact"], ops["ball_points_exact"]
    strict, inclusive = ops["ball_idx_exact_strict"], ops["ball_idx_exact_inclusive"]
    row = int(np.flatnonzero((strict != inclusive).any(axis=1))[0])
    point = next(j for j in inclusive[row] if j not in strict[row])
    return float(np.linalg.norm(xyz[point].astype(np.float64) - query[row]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_reference_chamfer(ops, backend):
    expected = {
        0: (0.11586014155032581, 0.21178305679745246),
        1: (0.09380052341210461, 0.19274886426058646),
        2: (0.07857804683144193, 0.1686867620083341),
        3: (0.1253969110633078, 0.2226625714359995),
    }
    for case, (l2, l1) in expected.items():
        a, b = (tensor(ops[f"cd_{side}_{case}"]).double().requires_grad_() for side in "ab")
        value = chamfer(a, b, backend=backend)
        assert value.item() == pytest.approx(l2, rel=1e-9)
        assert chamfer(a, b, squared=False, backend=backend).item() == pytest.approx(l1, rel=1e-9)
        assert chamfer(a.float(), b.float(), backend=backend).item() == pytest.approx(l2, rel=1e-5)
        if f"cd_grad_a_l2_{case}" in ops:
            value.backward()
            for points, side in ((a, "a"), (b, "b")):
                gradient = ops[f"cd_grad_{side}_l2_{case}"]
                np.testing.assert_allclose(points.grad, gradient, rtol=1e-9, atol=1e-12)


def test_reference_point_mae_groups_and_loss(shared):
    with np.load(shared / "goldens/clouds.npz") as file:
        cloud = tensor(file["D"])
    with np.load(shared / "goldens/encoders/pointmae_pretrain/golden.npz") as file:
        golden = dict(file)
    centres, _, index = group(cloud, 64, 32, skip_origin=True)
    np.testing.assert_array_equal(farthest_points(cloud, 64, skip_origin=True), golden["fps_idx"])
    np.testing.assert_array_equal(centres, golden["centers"])
    np.testing.assert_array_equal(index, golden["knn_idx"])
    rebuilt, target = (tensor(golden[key]).reshape(-1, 32, 3).double() for key in ("rebuild", "target"))
    assert chamfer(rebuilt, target).item() == pytest.approx(golden["loss_cd_l2"], rel=1e-5)
    assert chamfer(rebuilt, target, squared=False).item() == pytest.approx(golden["loss_cd_l1"], rel=1e-5)


def test_reference_pyramids_and_inclusive_balls(shared):
    with np.load(shared / "goldens/clouds.npz") as file:
        cloud, coloured = tensor(file["C"]), tensor(file["A"][..., :3])
    with np.load(shared / "goldens/encoders/ulip1_pointnext_2048/golden.npz") as file:
        golden = {key: file[key] for key in file.files if "idx" in key}
    for level, radius in ((1, 0.15), (2, 0.225)):
        picks = farthest_points(cloud, golden[f"fps_idx_{level}"].shape[1])
        np.testing.assert_array_equal(picks, golden[f"fps_idx_{level}"])
        centres = gather(cloud, picks)
        found = ball_query(centres, cloud, radius, 32)
        np.testing.assert_array_equal(found, golden[f"ball_idx_{level}"])
        cloud = centres
    with np.load(shared / "goldens/encoders/openshape_ppat_b32/golden.npz") as file:
        picks, balls = file["fps_idx"], file["ball_idx"]
    np.testing.assert_array_equal(farthest_points(coloured, picks.shape[1]), picks)
    found = ball_query(gather(coloured, tensor(picks).long()), coloured, 0.4, 256, inclusive=True)
    np.testing.assert_array_equal(np.sort(found), np.sort(balls))

"""Style transition: the reference outputs in every variant, statistics of what comes out, draws, gradients."""

import numpy as np
import pytest
import torch

from cmah.models.style_transition import StyleTransition, mix_style, style_statistics

CASES = range(3)
EPS = 1e-5


def slow_mix(x, y, alpha, perm, variant, eps=EPS):
    """The four variants of the reference outputs, in NumPy, one sample and channel after the other."""

    def spread(values):
        variance = values.var(ddof=1 if variant == "var_unbiased" else 0)
        return {"std": np.sqrt(variance + eps), "released": np.sqrt(variance)}.get(variant, variance)

    out = np.empty_like(x)
    for i in range(len(x)):
        for c in range(x.shape[1]):
            own, other = x[i, c], y[perm[i], c]
            a, s, t = float(np.ravel(alpha[i])[0]), spread(own), spread(other)
            mean, mixed = a * own.mean() + (1 - a) * other.mean(), a * s + (1 - a) * t
            # a standard deviation is used as it is, except by the released code, which takes its root again
            divisor, factor = (s, mixed) if variant == "std" else (np.sqrt(s + eps), np.sqrt(mixed + eps))
            out[i, c] = (own - own.mean()) / divisor * factor + mean
    return out


def some(seed, b=4, s=4, c=3, views=None, size=5):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(b, c, size, size, generator=rng, dtype=torch.float64)
    shape = (s, c, 6, 4) if views is None else (s, views, c, 6, 4)
    return x, 2 * torch.randn(shape, generator=rng, dtype=torch.float64) + 1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reference(shared, case):
    arrays = np.load(shared / "goldens" / "losses" / "ibsr.npz", allow_pickle=False)
    inputs = [arrays[f"style_{name}_{case}"] for name in ("x", "y", "alpha", "perm")]
    x, y = inputs[:2]
    inputs[1] = y.reshape(*x.shape[:2], -1, 1)  # in case 2 the released code reads y so
    return arrays, inputs


@pytest.mark.parametrize("variant", ["var_biased", "var_unbiased", "std", "released"])
@pytest.mark.parametrize("case", CASES)
def test_the_slow_form_equals_the_reference_in_every_variant(shared, case, variant):
    arrays, inputs = reference(shared, case)
    slow = slow_mix(*inputs, variant)
    np.testing.assert_allclose(slow, arrays[f"style_{variant}_{case}"], rtol=1e-9, atol=1e-12)
    if variant == "released":  # the authors' code itself, in float32
        np.testing.assert_allclose(slow, arrays[f"style_released_jittor_f32_{case}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference_with_the_biased_variance(shared, case):
    arrays, inputs = reference(shared, case)
    x, y, alpha, perm = (torch.tensor(value) for value in inputs)
    mean, variance = style_statistics(y)
    got = mix_style(x, mean[perm], variance[perm], alpha.flatten())
    np.testing.assert_allclose(got, arrays[f"style_var_biased_{case}"], rtol=1e-9, atol=1e-12)
    small = mix_style(x.float(), mean[perm].float(), variance[perm].float(), alpha.flatten().float())
    np.testing.assert_allclose(small, arrays[f"style_var_biased_{case}"], rtol=1e-5, atol=1e-5)


def test_what_comes_out_has_the_mixed_statistics():
    x, y = some(0)
    (own_mean, own_variance), (mean, variance) = style_statistics(x), style_statistics(y)
    share = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    got_mean, got_variance = style_statistics(mix_style(x, mean, variance, share, eps=1e-12))
    a = share[:, None]
    torch.testing.assert_close(got_mean, a * own_mean + (1 - a) * mean)
    torch.testing.assert_close(got_variance, a * own_variance + (1 - a) * variance)


def test_ones_own_style_changes_nothing():
    x, y = some(1)
    torch.testing.assert_close(mix_style(x, *style_statistics(x), torch.rand(4, dtype=x.dtype)), x)
    torch.testing.assert_close(mix_style(x, *style_statistics(y), torch.ones(4, dtype=x.dtype)), x)


def test_a_plain_map_takes_the_mean_and_stays_finite():
    x = torch.full((1, 2, 3, 3), 7.0, requires_grad=True)
    mixed = mix_style(x, torch.tensor([[1.0, 2.0]]), torch.ones(1, 2), torch.zeros(1))
    torch.testing.assert_close(mixed, torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 3, 3))
    mixed.square().sum().backward()
    assert x.grad.isfinite().all()


def test_gradients_pass_through_the_statistics_of_both():
    x, y = (t.requires_grad_() for t in some(2, b=2, s=2, c=2, size=3))
    share = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y, a: mix_style(x, *style_statistics(y), a), (x, y, share))
    # the spread of what comes out depends on the styles by their variance only
    layer = StyleTransition().train()
    style_statistics(layer(x, y, generator()))[1].sum().backward()
    assert x.grad.abs().sum() > 0
    assert y.grad.abs().sum() > 0


def test_the_layer_draws_from_the_generator_alone():
    x, y = some(3, views=3)
    layer = StyleTransition().train()
    first = layer(x, y, generator(1))
    torch.manual_seed(9)
    assert torch.equal(layer(x, y, generator(1)), first)
    assert not torch.equal(layer(x, y, generator(2)), first)
    assert torch.equal(layer.eval()(x, y, generator(1)), x)


@pytest.mark.parametrize(("b", "s"), [(5, 5), (5, 2), (2, 5)])
def test_every_shape_once_before_any_again(b, s):
    x, _ = some(4, b=b)
    # styles that a query can be read from: the mean of shape k is k in every channel, with no spread
    y = torch.arange(s, dtype=torch.float64)[:, None, None, None].expand(s, 3, 2, 2)
    drawn = generator(5)
    mixed = StyleTransition().train()(x, y, drawn)
    own = style_statistics(x)[0]
    again = generator(5)
    share = torch.rand(b, generator=again)[:, None]
    partner = ((style_statistics(mixed)[0] - share * own) / (1 - share)).round()
    counts = [int((partner == k).all(dim=1).sum()) for k in range(s)]
    assert sum(counts) == b
    assert max(counts) - min(counts) <= 1


def test_styles_of_several_views_are_averaged_without_the_gaps():
    x, y = some(6, s=4, views=3)
    mask = torch.tensor([[True, True, True], [True, False, True], [False, True, False], [True, False, False]])
    y[~mask] = 1e3
    mean, variance = torch.empty(2, 4, 3, dtype=torch.float64)
    for k in range(4):
        each = [style_statistics(view[None]) for view, there in zip(y[k], mask[k], strict=True) if there]
        mean[k], variance[k] = (sum(part) / len(each) for part in zip(*each, strict=True))
    one_view = torch.stack([mean - variance.sqrt(), mean + variance.sqrt()], dim=2)[..., None]
    layer = StyleTransition().train()
    torch.testing.assert_close(layer(x, y, generator(), mask), layer(x, one_view, generator()))
    y = y[:, :2]
    torch.testing.assert_close(
        layer(x, y, generator()), layer(x, y, generator(), torch.ones(4, 2, dtype=torch.bool))
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x, y = (t.to(dtype) for t in some(7))
    layer = StyleTransition().train()
    mixed = layer(100 * x, 100 * y, generator())  # squares of these leave the range of float16
    assert mixed.dtype == dtype
    expected = layer((100 * x).double(), (100 * y).double(), generator())
    torch.testing.assert_close(mixed.double(), expected, rtol=0.02, atol=0.5)


def test_wrong_styles_are_refused():
    x, y = some(8)
    layer = StyleTransition().train()
    for wrong in (y[:, :2], y[:0], y[0]):
        with pytest.raises(ValueError, match="expected"):
            layer(x, wrong, generator())
    with pytest.raises(ValueError, match="row 1 has no view"):
        layer(x, y[:, None], generator(), torch.tensor([[True], [False], [True], [True]]))


@pytest.mark.gpu
def test_on_a_gpu_the_draws_are_those_of_the_cpu():
    x, y = some(9, views=2)
    layer = StyleTransition().train()
    torch.testing.assert_close(layer(x.cuda(), y.cuda(), generator()).cpu(), layer(x, y, generator()))

"""NumPy functions that are combinations of others: value against NumPy, derivatives against finite differences."""

import numpy as np
import pytest

import mlgrad
from mlgrad.testing import check_grads

RNG = np.random.default_rng(0)
V = RNG.standard_normal(6)
W = RNG.standard_normal(4)
M = RNG.standard_normal((4, 5))
C = RNG.standard_normal((3, 4, 5))
HOLES = np.where(RNG.random((4, 5)) < 0.3, np.nan, M)
C2 = RNG.standard_normal((4, 2, 5))
GRID = np.sort(RNG.random(6))

WINDOWS = np.lib.stride_tricks.sliding_window_view

CASES = {
    "average": (lambda a: np.average(a), M),
    "average_axis": (lambda a: np.average(a, axis=1, keepdims=True), M),
    "average_weights": (lambda a, w: np.average(a, axis=0, weights=w), M, np.abs(W) + 1),
    "average_returned": (lambda a: np.average(a, axis=1, weights=np.arange(1.0, 6.0), returned=True), M),
    "cov": (lambda a: np.cov(a), M),
    "cov_columns": (lambda a: np.cov(a, rowvar=False), M),
    "cov_two": (lambda a, b: np.cov(a, b), V, V[::-1] ** 2),
    "cov_two_columns": (lambda a, b: np.cov(a, b, rowvar=False, bias=True), M, M[:, ::-1] ** 2),
    "cov_one_row_of_columns": (lambda a: np.cov(np.tile(a[None, :1], (1, 3)) * np.arange(3), V[:3], rowvar=True), V),
    "cov_weights": (lambda a, w: np.cov(a, fweights=[1, 3, 0, 2, 1], aweights=w), M, np.abs(M[0]) + 0.1),
    "cov_counts": (lambda a: np.cov(a, fweights=[1, 3, 0, 2, 1], ddof=0), M),
    "cov_aweights": (lambda a, w: np.cov(a, aweights=w, ddof=2), M, np.abs(M[0]) + 0.1),
    "corrcoef_two_columns": (lambda a, b: np.corrcoef(a, b, rowvar=False), M, M[::-1] ** 2),
    "corrcoef": (lambda a: np.corrcoef(a), M),
    "corrcoef_two": (lambda a, b: np.corrcoef(a, b), V, V[::-1] ** 2),
    "quantile": (lambda a: np.quantile(a, [0.1, 0.5, 0.77], axis=1), M),
    "quantile_all": (lambda a: np.quantile(a, 0.25), M),
    "quantile_axes": (lambda a: np.quantile(a, 0.3, axis=(0, 2), keepdims=True), C),
    "percentile": (lambda a: np.percentile(a, 35, axis=0), M),
    "median": (lambda a: np.median(a, axis=0), M),
    "median_odd": (lambda a: np.median(a, axis=-1, keepdims=True), M),
    "ptp": (lambda a: np.ptp(a, axis=1), M),
    "nansum": (lambda a: np.nansum(a * HOLES, axis=0), M),
    "nanprod": (lambda a: np.nanprod(a * HOLES, axis=1), M),
    "nanmean": (lambda a: np.nanmean(a * HOLES), M),
    "nanvar": (lambda a: np.nanvar(a * HOLES, axis=1, ddof=1), M),
    "nanstd": (lambda a: np.nanstd(a * HOLES, axis=1, keepdims=True), M),
    "nanmax": (lambda a: np.nanmax(a * HOLES, axis=1), M),
    "nanmin": (lambda a: np.nanmin(a * HOLES), M),
    "nan_to_num": (lambda a: np.nan_to_num(a * HOLES, nan=2.0), M),
    "trapezoid": (lambda a: np.trapezoid(a, dx=0.5), M),
    "trapezoid_x": (lambda a, x: np.trapezoid(a, x, axis=0), M, np.sort(W)),
    "gradient": (lambda a: np.gradient(a, 0.5), V),
    "gradient_axes": (lambda a: np.gradient(a), M),
    "gradient_x": (lambda a, x: np.gradient(a, x), V, GRID),
    "gradient_two": (lambda a: np.gradient(a, 2.0, np.arange(5.0) ** 2, axis=(0, 1)), M),
    "ediff1d": (lambda a: np.ediff1d(a, to_begin=[1.0], to_end=[2.0, 3.0]), M),
    "interp": (lambda x, f: np.interp(x, GRID, f), np.array([0.1, 0.33, 0.61, 0.7]), V),
    "interp_outside": (lambda f: np.interp([-1.0, 2.0], GRID, f, left=7.0), V),
    "pad_mean": (lambda a: np.pad(a, ((1, 2), (3, 0)), "mean"), M),
    "pad_mean_of_some": (lambda a: np.pad(a, 2, "mean", stat_length=((1, 2), (3, 99))), M),
    "pad_maximum": (lambda a: np.pad(a, (1, 2), "maximum", stat_length=None), M),
    "pad_minimum": (lambda a: np.pad(a, (1, 2), "minimum", stat_length=2), M),
    "pad_median": (lambda a: np.pad(a, ((0, 1), (2, 0), (1, 1)), "median", stat_length=(2, 3)), C),
    "pad_linear_ramp": (lambda a: np.pad(a, ((4, 1), (0, 3)), "linear_ramp", end_values=((1, -2.5), (0, 3))), M),
    "pad_odd_by_one": (lambda a: np.pad(a[:, :1], 2, "reflect", reflect_type="odd"), M),
    "convolve": (lambda a, v: np.convolve(a, v), V, W),
    "convolve_same": (lambda a, v: np.convolve(a, v, "same"), W, V),
    "convolve_valid": (lambda a, v: np.convolve(a, v, "valid"), V, W[:3]),
    "correlate": (lambda a, v: np.correlate(a, v), V, W),
    "correlate_full": (lambda a, v: np.correlate(a, v, "full"), V, W),
    "correlate_same": (lambda a, v: np.correlate(a, v, "same"), V, W[:3]),
    "polyval": (lambda p, x: np.polyval(p, x), W, V),
    "vander": (lambda x: np.vander(x, 3), W),
    "vander_increasing": (lambda x: np.vander(x, increasing=True), W),
    "linspace": (lambda a, b: np.linspace(a, b, 4), 1.0, 2.5),
    "logspace": (lambda a, b: np.logspace(a, b, 4, base=2.0), 1.0, 2.5),
    "logspace_axis": (lambda a: np.logspace(a, 1.0, 3, endpoint=False, axis=-1), W),
    "geomspace": (lambda a, b: np.geomspace(a, b, 5), 1.5, 7.0),
    "geomspace_negative": (lambda a: np.geomspace(a, -3.0, 4, endpoint=False), -1.5),
    "linspace_axis": (lambda a, b: np.linspace(a, b, 3, axis=1), W, W[::-1]),
    "cross": (lambda a, b: np.cross(a, b), V[:3], V[3:]),
    "cross_axis": (lambda a: np.cross(a, a[::-1], axis=0), C[:, :, 0]),
    "kron": (lambda a, b: np.kron(a, b), M[:2, :2], M[2:, 2:]),
    "kron_mixed": (lambda a, b: np.kron(a, b), W[:2], M[:2, :3]),
    "vdot": (lambda a, b: np.vdot(a, b), M, M[::-1]),
    "multi_dot": (lambda a, b, c: np.linalg.multi_dot([a, b, c]), M, M.T, W),
    "multi_dot_matrices": (lambda a, b: np.linalg.multi_dot([a, b, a]), M, M.T),
    "matrix_power": (lambda a: np.linalg.matrix_power(a, 5), M[:3, :3]),
    "matrix_power_negative": (lambda a: np.linalg.matrix_power(a, -2), M[:3, :3]),
    "matrix_power_zero": (lambda a: np.linalg.matrix_power(a, 0), M[:3, :3]),
    "norm": (lambda a: np.linalg.norm(a), M),
    "norm_vector": (lambda a: np.linalg.norm(a, axis=1, keepdims=True), M),
    "norm_1": (lambda a: np.linalg.norm(a, 1), V),
    "norm_3": (lambda a: np.linalg.norm(a, 3, axis=0), M),
    "norm_inf": (lambda a: np.linalg.norm(a, np.inf), V),
    "norm_minus_inf": (lambda a: np.linalg.norm(a, -np.inf), V),
    "norm_fro": (lambda a: np.linalg.norm(a, "fro", axis=(0, 2)), C),
    "norm_matrix_1": (lambda a: np.linalg.norm(a, 1), M),
    "norm_matrix_inf": (lambda a: np.linalg.norm(a, np.inf, axis=(2, 1), keepdims=True), C),
    "rot90": (lambda a: np.rot90(a, 3), M),
    "meshgrid": (lambda a, b: np.meshgrid(a, b), V, W),
    "meshgrid_ij": (lambda a, b: np.meshgrid(a, b, indexing="ij", sparse=True), V, W),
    "apply_along_axis": (lambda a: np.apply_along_axis(lambda v: v[:2] * v[2], 1, a), C),
    "piecewise": (lambda x: np.piecewise(x, [x < 0, x >= 1], [lambda x: -x, 3.0, lambda x: x**2]), V),
    "block": (lambda a, b: np.block([[a, a[:, :2]], [np.ones((1, 5)), b[None, :2]]]), M, W),
    "block_of_scalars": (lambda a: np.block([a, a[0], 3.0]), V),
    "sliding_window_view": (lambda a: WINDOWS(a, (2, 3)), M),
    "sliding_window_view_axes": (lambda a: WINDOWS(a, (2, 2), axis=(1, 1)), M),
    "resize": (lambda a: np.resize(a, (3, 9)), M),
    "insert": (lambda a, v: np.insert(a, -1, v, axis=1), M, W),
    "insert_flat": (lambda a, v: np.insert(a, 2, v), M, W),
    "choose": (lambda a, v: np.choose(np.array([0, 2, 1, 1, 0]), [a, 5.0, a**2]), M, W),
    "choose_wrap": (lambda a: np.choose(np.array([-1, 4, 1, 1, 0, 2]), [a, a**2, a**3], mode="wrap"), V),
    "choose_clip": (lambda a: np.choose(np.array([[-1], [4]]), [a, a**2], mode="clip"), V),
    "choose_wrap_list": (lambda a: np.choose([-1, 4, 1, 1, 0, 2], [a, a**2, a**3], mode="wrap"), V),
    "vander_of_nothing": (lambda x: np.vander(x, 0), W),
    "polyadd": (lambda p, q: np.polyadd(p, q), V, W),
    "polysub": (lambda p, q: np.polysub(q, p), V, W),
    "polymul": (lambda p, q: np.polymul(p, q), V, W),
    "polyder": (lambda p: np.polyder(p, 2), V),
    "polyder_of_everything": (lambda p: np.polyder(p, 9) + np.sum(p), V),
    "polyint": (lambda p: np.polyint(p, 2, k=[1.0, 3.0]), V),
    "polyint_one_constant": (lambda p: np.polyint(p, 2, k=2.0), V),
    "poly": (lambda z: np.poly(z), W),
    "polyfit": (lambda y: np.polyfit(GRID, y, 2), V),
    "polyfit_both": (lambda x, y: np.polyfit(x, y, 1, w=np.arange(1.0, 7.0)), GRID, V),
    "polyfit_columns": (lambda y: np.polyfit(np.arange(4.0), y, 1), M),
    "nancumsum": (lambda a: np.nancumsum(a * HOLES, axis=0), M),
    "nancumprod": (lambda a: np.nancumprod(a * HOLES, axis=1), M),
    "nanmedian": (lambda a: np.nanmedian(a * HOLES, axis=1), M),
    "nanmedian_all": (lambda a: np.nanmedian(a * HOLES, keepdims=True), M),
    "nanquantile": (lambda a: np.nanquantile(a * HOLES, [0.1, 0.5, 0.93], axis=0), M),
    "nanquantile_axes": (lambda a: np.nanquantile(a * HOLES[:, None], 0.3, axis=(0, 2), keepdims=True), C2),
    "nanpercentile": (lambda a: np.nanpercentile(a * HOLES, [[10, 20], [60, 100]], axis=1, keepdims=True), M),
    "nanargmax": (lambda a: np.take_along_axis(a, np.nanargmax(a * HOLES, axis=1, keepdims=True), 1), M),
    "nanargmin": (lambda a: a * np.nanargmin(a * HOLES), M),
    "unwrap": (lambda a: np.unwrap(a * 5), V),
    "unwrap_options": (lambda a: np.unwrap(a * 9, discont=4.0, axis=0, period=5.0), M),
    "apply_over_axes": (lambda a: np.apply_over_axes(np.sum, a, [0, -1]), C),
    "angle": (lambda a: a * np.angle(a, deg=True), V),
    "real_if_close": (lambda a: np.real_if_close(a) ** 2, V),
    "fftshift": (lambda a: np.fft.fftshift(a) + np.fft.ifftshift(a, axes=1), M),
    "digitize": (lambda a: a * np.digitize(a, [-0.5, 0.0, 1.0]), V),
    "digitize_falling": (lambda a: a * np.digitize(a, [1.0, 0.0, -0.5], right=True), V),
    "isin": (lambda a: a * np.isin(np.floor(a), [0, -1], invert=True), M),
    "unravel_index": (lambda a: a[np.unravel_index(np.argmax(a), a.shape)] ** 2, C),
    "unique": (lambda a: np.unique(np.concatenate((a, a[:3]))) ** 2, V),
    "unique_rows": (lambda a: np.unique(np.concatenate((a, a[1:2])), axis=0) ** 2, M),
    "partition": (lambda a: np.sum(np.partition(a, 2)[:3] ** 2), V),
    "argpartition": (lambda a: np.sum(a[np.argpartition(a, 2)[:3]] ** 2), V),
    "bincount": (lambda w: np.bincount(np.array([0, 3, 3, 1, 0, 1]), weights=w, minlength=6), V),
}


METHODS = """inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf hazen weibull linear
median_unbiased normal_unbiased lower higher midpoint nearest"""
for _method in METHODS.split():
    CASES[f"quantile_{_method}"] = (lambda a, m=_method: np.quantile(a, [0.0, 0.13, 0.5, 0.97], axis=0, method=m), M)
    CASES[f"percentile_{_method}"] = (lambda a, m=_method: np.percentile(a, 31, method=m, keepdims=True), M)
    CASES[f"nanquantile_{_method}"] = (
        lambda a, m=_method: np.nanquantile(a * HOLES, [0.01, 0.4, 0.93], 0, method=m),
        M,
    )


def written(write):
    def f(a, v):
        a = a * 1.0
        write(a, v)
        return a

    return f


CASES |= {
    "copyto": (written(lambda a, v: np.copyto(a, v, where=np.arange(5) > 1)), M, W[:, None]),
    "fill_diagonal": (written(np.fill_diagonal), M, W),
    "put": (written(lambda a, v: np.put(a, [0, 7, -1, 7], v)), M, W),
    "put_repeats_its_values": (written(lambda a, v: np.put(a.T, np.arange(9), v)), M, W),
    "put_wrap": (written(lambda a, v: np.put(a, [0, 27, -21], v, mode="wrap")), M, W),
    "put_clip": (written(lambda a, v: np.put(a, [0, 27, -21], v, mode="clip")), M, W),
    "place": (written(lambda a, v: np.place(a, np.arange(20).reshape(4, 5) % 3 == 0, v)), M, W),
    "place_by_value": (written(lambda a, v: np.place(a[:, ::2], a[:, ::2] > 0, v)), M, W),
    "place_nothing": (written(lambda a, v: np.place(a, a > 99, v)), M, W),
    "putmask": (written(lambda a, v: np.putmask(a, np.arange(20).reshape(4, 5) % 3 == 0, v)), M, W),
    "put_along_axis": (written(lambda a, v: np.put_along_axis(a, np.array([[1], [0], [4], [2]]), v, 1)), M, W[:, None]),
}


def leaves(tree):
    return [np.asarray(leaf) for leaf in mlgrad.tree.flatten(tree)[0]]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_value_and_derivatives(name):
    f, *args = CASES[name]

    def numbers(*args):
        out = f(*args)
        return tuple(out) if isinstance(out, list | tuple) else out

    got = mlgrad.vjp(numbers, *args)[0]
    want = numbers(*args)
    for g, w in zip(leaves(got), leaves(want), strict=True):
        assert g.shape == w.shape
        assert g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)
    order = 1 if name in ("nanprod", "matrix_power_negative") else 2
    check_grads(numbers, args, order=order, rtol=1e-5, atol=1e-6)


BY_VALUE = {"unique", "unique_rows", "place_by_value", "place_nothing"}


@pytest.mark.parametrize("name", [name for name in CASES if name not in BY_VALUE])
def test_vmap(name):
    f, *args = CASES[name]
    batch = [np.stack([a, np.multiply(a, 1.125)]) for a in args]
    got = mlgrad.vmap(f)(*batch)
    want = [mlgrad.vjp(f, *(b[k] for b in batch))[0] for k in range(2)]
    for g, *w in zip(leaves(got), *map(leaves, want), strict=True):
        np.testing.assert_allclose(g, np.stack(w), rtol=1e-12, atol=1e-12)


def test_piecewise_selects_as_numpy_does():
    x = np.array([[1.5, 0.2], [0.1, 0.9]])
    for f in (
        # rows; the last condition that holds counts; one condition alone; the rest is zero
        lambda x: np.piecewise(x, [np.array([True, False]), np.array([False, True])], [np.sin, np.exp]),
        lambda x: np.piecewise(x, [x > 0, x > 1], [lambda v: 10 * v, 5.0]),
        lambda x: np.piecewise(x[0], x[0] > 0.5, [np.sin]),
        lambda x: np.piecewise(x, [x > 0.5], [lambda v, k: k * v, lambda v, k: v - k], 3.0),
        lambda x: np.piecewise(x[0, 0], x[0, 0] > 1, [1.0, np.exp]),
    ):
        for run in (lambda f, x: mlgrad.jvp(f, (x,), (x,))[0], lambda f, x: mlgrad.jit(f)(x)):
            np.testing.assert_allclose(run(f, x), f(x), rtol=1e-15)
        check_grads(f, (x,), order=2)
    with pytest.raises(TypeError, match="piecewise: a function gives other values"):
        mlgrad.grad(lambda x: np.sum(np.piecewise(x, [x > 0.5], [lambda v: v - np.mean(v)])))(x)
    with pytest.raises(ValueError, match=r"piecewise: a condition of shape \(3,\)"):
        mlgrad.grad(lambda x: np.sum(np.piecewise(x, [np.ones(3, dtype=bool)], [1.0])))(x)


def test_norm_at_zero_has_slope_zero():
    for f in (np.linalg.norm, lambda x: np.linalg.norm(x, axis=0), lambda x: np.linalg.norm(x, 3)):
        np.testing.assert_array_equal(mlgrad.grad(f)(np.zeros(3)), np.zeros(3))


def test_comparisons_of_whole_arrays():
    seen = []

    def f(x):
        seen.append((np.allclose(x, V), np.allclose(x, V + 1), np.array_equal(x, V), np.array_equal(x, W)))
        seen.append(np.isclose(x, V).shape)
        return np.sum(x)

    mlgrad.grad(f)(V)
    assert seen == [(True, False, True, False), (6,)]


@pytest.mark.parametrize(
    ("f", "error"),
    [
        (lambda x: np.quantile(x, 1.5), ValueError),
        (lambda x: np.quantile(x, 0.5, method="best"), ValueError),
        (lambda x: np.pad(x, 1, "maximum", stat_length=0), ValueError),
        (lambda x: np.pad(x, 1, "mean", end_values=0), ValueError),
        (lambda x: np.pad(x, 1, "linear_ramp", end_values=np.ones((1, 2, 3))), ValueError),
        (lambda x: np.linalg.norm(x, "nuc"), ValueError),
        (lambda x: np.cross(x, x), ValueError),
        (lambda x: np.average(x, weights=np.ones(2)), TypeError),
        (lambda x: np.gradient(x, axis=3), np.exceptions.AxisError),
        (lambda x: np.convolve(x, x, "sideways"), ValueError),
        (lambda x: np.interp(x, [0.0, 1.0], [1.0]), ValueError),
        (lambda x: np.linalg.matrix_power(x, 2), np.linalg.LinAlgError),
        (lambda x: np.block([x, [x]]), ValueError),
        (lambda x: np.lib.stride_tricks.sliding_window_view(x, 7), ValueError),
        (lambda x: np.insert(x, 9, 1.0), IndexError),
        (lambda x: np.choose(np.array([0, -1, 0, 0, 0, 0]), [x, x]), IndexError),
        (lambda x: np.bincount([0, 1], weights=x), ValueError),
    ],
)
def test_what_is_refused(f, error):
    with pytest.raises(error):
        mlgrad.grad(lambda x: np.sum(f(x)))(V)


def test_what_unique_gives_besides():
    x = np.array([3.0, 1.0, 3.0, np.nan, 2.0, np.nan])
    for options in ({"return_index": True}, {"return_inverse": True, "return_counts": True}, {"equal_nan": False}):
        got = mlgrad.vjp(lambda x, o=options: np.unique(x, **o), x)[0]
        want = np.unique(x, **options)
        for g, w in zip(leaves(got), leaves(list(want) if isinstance(want, tuple) else want), strict=True):
            np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize(
    ("error", "match", "f"),
    [
        (ValueError, "monotonically", lambda x: np.digitize(x, [1.0, 0.0, 2.0])),
        (ValueError, "out of bounds for 6", lambda x: np.unravel_index(np.argmax(x) + 6, (2, 3))),
        (TypeError, "fft.rfft: .*complex numbers", np.fft.rfft),
        (TypeError, "fft.ifft2: .*complex numbers", np.fft.ifft2),
        (TypeError, "poly: .*eigenvalues", lambda x: np.poly(np.outer(x, x))),
        (TypeError, "polyfit: full and cov", lambda x: np.polyfit(x, x, 1, full=True)),
        (TypeError, "polyfit: x of shape", lambda x: np.polyfit(x[:3], x, 1)),
        (ValueError, "'best' is not a valid method; use .*'hazen'", lambda x: np.nanquantile(x, 0.3, method="best")),
        (ValueError, "'best' is not a valid method; use .*'hazen'", lambda x: np.quantile(x, 0.3, method="best")),
        (ValueError, "mode 'empty' .* use mode='constant'", lambda x: np.pad(x, 1, "empty")),
        (ValueError, "'linear_ramp'", lambda x: np.pad(x, 1, "sideways")),
        (TypeError, "each followed by a list of axes", lambda x: np.einsum(x, 0, x, [0])),
        (TypeError, "each followed by a list", lambda x: np.einsum(x)),
        (ValueError, "from 0 to 51, got 52", lambda x: np.einsum(x, [52])),
        (ValueError, "from 0 to 100", lambda x: np.nanpercentile(x, 101)),
        (ValueError, "All-NaN", lambda x: np.nanargmax(x * np.nan)),
        (TypeError, "put: a traced value cannot be written", lambda x: np.put(np.zeros(6), [1], x)),
        (TypeError, "place: a traced value cannot be written", lambda x: np.place(np.zeros(6), x > 0, x)),
        (ValueError, "place: a mask of shape", lambda x: np.place(x, x[:2] > 0, [1.0])),
        (IndexError, "out of bounds", lambda x: np.put(x, [6], 1.0)),
        (ValueError, "cov: aweights of shape", lambda x: np.cov(x, aweights=np.ones(3))),
        (TypeError, "cov: fweights must be integers", lambda x: np.cov(x, fweights=np.ones(6))),
    ],
)
def test_errors_of_rare_functions(error, match, f):
    with pytest.raises(error, match=match):
        mlgrad.vjp(f, V)


def test_what_needs_values_says_so_where_there_are_none():
    with pytest.raises(TypeError, match="unique: how many elements differ"):
        mlgrad.jit(np.unique)(V)
    with pytest.raises(TypeError, match="digitize: the bins must be known"):
        mlgrad.jit(np.digitize)(V, V)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("m", [1, 2, 3, 6])
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_infinities_stay_where_a_convolution_takes_them(n, m, mode):
    rng = np.random.default_rng(10 * n + m)
    for f in (np.convolve, np.correlate):
        for at in ([], [0], [1], [0, 1]):
            args = [rng.normal(size=n), rng.normal(size=m)]
            for k in at:
                args[k][-1] = np.inf * (-1) ** k
            np.testing.assert_allclose(mlgrad.jit(f, static_argnums=2)(*args, mode), f(*args, mode), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_margins_and_quantiles_of_other_dtypes(dtype):
    x = np.array([[7, -3, 12, 5], [0, 4, 4, -8]]).astype(dtype)
    calls = [lambda x, m=m: np.pad(x, 3, m) for m in ("mean", "median", "maximum", "minimum", "linear_ramp")]
    calls += [
        lambda x: np.pad(x, 9, "reflect", reflect_type="odd"),
        lambda x: np.pad(x, 1, "linear_ramp", end_values=2.5),
    ]
    for method in ("lower", "inverted_cdf", "nearest", "closest_observation", "hazen", "midpoint"):
        calls += [lambda x, m=method: np.quantile(x, 0.3, axis=1, method=m)]
        calls += [lambda x, m=method: np.percentile(x, [20, 80], method=m)]
    for f in calls:
        got, want = mlgrad.jit(f)(x), f(x)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_the_gradient_beside_infinities():
    for bad in (np.inf, -np.inf, np.nan):
        x = np.array([0.5, 1.0, bad, 4.0, -1.0, 2.0, 0.25])
        for spacing in (1.0, 0.3, np.array([0.0, 1.0, 1.5, 3.0, 4.0, 6.0, 6.5])):
            np.testing.assert_allclose(mlgrad.jit(np.gradient)(x, spacing), np.gradient(x, spacing), rtol=1e-12)


def test_the_median_beside_infinities():
    x = np.array([[1.0, np.inf, -2.0, np.nan], [np.inf, np.inf, 1.0, np.inf], [-np.inf, 0.5, 2.0, np.nan]])
    for axis in (0, 1, None):
        for f in (np.nanmedian, np.median):
            np.testing.assert_array_equal(mlgrad.jit(f, static_argnums=1)(x, axis), f(x, axis))


def test_the_sign_of_zero_in_a_running_product():
    for x in ([-1.0, 0.0, 2.0], [-0.0, 1.0, 2.0], [0.0, -1.0, -1.0], [1.0, -0.0, -3.0, -0.0]):
        for dtype in (float, np.float32):
            v = np.array([x, x], dtype)
            for axis in (0, 1):
                got, want = mlgrad.jit(np.cumprod, static_argnums=1)(v, axis), np.cumprod(v, axis)
                np.testing.assert_array_equal(got, want)
                np.testing.assert_array_equal(np.signbit(got), np.signbit(want))

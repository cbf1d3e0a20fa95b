"""Writes rust/math/tests/data/math_reference.txt: values of the elementary functions by mpmath, for accuracy.rs.

A section is `op dtype bound`, bound in ulp; a line is the bits of the arguments, of the rounded value, and what the
rounding left, in 1/256 ulp. Needs mpmath and numpy.
"""

from pathlib import Path

import numpy as np
from mpmath import mp, mpf

OUT = Path(__file__).resolve().parents[2] / "rust/math/tests/data/math_reference.txt"
rng = np.random.default_rng(20)


def log_uniform(lo, hi, n, signed=True):
    x = 10.0 ** rng.uniform(lo, hi, n)
    return x * rng.choice([-1, 1], n) if signed else x


def uniform(lo, hi, n):
    return rng.uniform(lo, hi, n)


def near_pi(n):
    """Around multiples of π/2: where the reduction loses most."""
    k = np.unique(np.concatenate([np.arange(1, 9), (2.0 ** rng.uniform(3, 19, n)).astype(int)]))
    return k * (np.pi / 2)


def cbrt(x):
    return mp.sign(x) * mp.cbrt(abs(x))


def expit(x):
    return 1 / (1 + mp.exp(-x))


# name: (function, bound in f64, samples of n arguments for the range of f64 or f32)
def unary(small):
    """The functions of one argument; `small` says float32."""
    top = 38.4 if small else 308.2
    low = -44.5 if small else -322.0
    e_top = 88.7 if small else 709.7
    e_low = -103.0 if small else -744.5
    e_edge = (88.7, 88.7228) if small else (709.76, 709.7827)
    ln2 = float(mp.log(2))
    wide = lambda n: log_uniform(low, top, n)
    positive = lambda n: log_uniform(low, top, n, False)
    tiny = lambda hi: lambda n: log_uniform(low, hi, n)
    flat = lambda lo, hi: lambda n: uniform(lo, hi, n)
    around_one = lambda n: 1 + log_uniform(-6 if small else -15, -1, n)
    above_one = lambda n: 1 + log_uniform(-6 if small else -15, -1, n, False)
    below_one = lambda n: (1 - log_uniform(-6 if small else -15, -0.1, n, False)) * rng.choice([-1, 1], n)
    edge = lambda n: uniform(*e_edge, n // 3)
    angles = [flat(-10, 10), tiny(1), lambda n: log_uniform(1, 5.9, n), lambda n: log_uniform(5.9, top, n), near_pi]
    return {
        "Exp": (mp.exp, 1, [flat(e_low, e_top), flat(-1, 1), tiny(0), edge]),
        "Exp2": (lambda x: mpf(2) ** x, 1, [flat(e_low / ln2, e_top / ln2), flat(-1, 1)]),
        "Expm1": (mp.expm1, 1, [flat(-40, e_top), flat(-1, 1), flat(-0.1, 0.1), tiny(0), edge]),
        "Log": (mp.log, 1, [positive, flat(0.5, 2), around_one]),
        "Log2": (lambda x: mp.log(x) / mp.log(2), 1, [positive, flat(0.5, 2), around_one]),
        "Log10": (lambda x: mp.log(x) / mp.log(10), 1, [positive, flat(0.5, 2), around_one]),
        "Log1p": (mp.log1p, 1, [positive, flat(-0.99, 1), tiny(-1)]),
        "Sin": (mp.sin, 1, angles),
        "Cos": (mp.cos, 1, angles),
        "Tan": (mp.tan, 2, angles),
        "Arcsin": (mp.asin, 2, [flat(-1, 1), tiny(0), below_one]),
        "Arccos": (mp.acos, 2, [flat(-1, 1), tiny(0), below_one]),
        "Arctan": (mp.atan, 2, [flat(-3, 3), wide]),
        "Sinh": (mp.sinh, 2, [flat(-e_top, e_top), flat(-2, 2), tiny(0), edge]),
        "Cosh": (mp.cosh, 2, [flat(-e_top, e_top), flat(-2, 2), tiny(0), edge]),
        "Tanh": (mp.tanh, 1, [flat(-20, 20), flat(-1, 1), tiny(0)]),
        "Arcsinh": (mp.asinh, 2, [flat(-3, 3), wide]),
        "Arccosh": (mp.acosh, 2, [flat(1, 3), lambda n: log_uniform(0.1, top, n, False), above_one]),
        "Arctanh": (mp.atanh, 2, [flat(-1, 1), tiny(-0.1), below_one]),
        "Erf": (mp.erf, 1, [flat(-6, 6), flat(-1, 1), tiny(0)]),
        "Erfc": (mp.erfc, 2, [flat(-6, 9.5 if small else 26.6), flat(-1, 4), tiny(0)]),
        "Expit": (expit, 1, [flat(e_low, 40), flat(-3, 3), tiny(0)]),
        "LogExpit": (lambda x: -mp.log1p(mp.exp(-x)), 2, [flat(-100, -e_low), flat(-3, 3), wide]),
        "Sqrt": (mp.sqrt, 0.5, [positive]),
        "Cbrt": (cbrt, 1, [wide, flat(-8, 8)]),
    }


def binary(small):
    top = 37.0 if small else 306.0

    def powers(n):
        x = np.concatenate([log_uniform(-top, top, n, False), uniform(0.5, 2, n)])
        return x, uniform(-1, 1, 2 * n) * top * np.log(10) / np.abs(np.log(x))

    def pairs(lo, hi):
        return lambda n: (uniform(lo, hi, n), uniform(lo, hi, n))

    def wide(n):
        return log_uniform(-top, top, n), log_uniform(-top, top, n)

    def alike(n):
        x = log_uniform(-top, top, n)
        return x, x * log_uniform(-2, 2, n)

    def logs(n):
        return log_uniform(-top / 3, top / 3, n), log_uniform(-top, top, n, False)

    def plain(n):
        return uniform(-3, 3, n), uniform(0, 3, n)

    def log_add(base):
        return lambda a, b: mp.log(mpf(base) ** a + mpf(base) ** b) / mp.log(base)

    return {
        "Pow": (mp.power, 2, [powers, lambda n: (uniform(0, 10, n), uniform(-10, 10, n))]),
        "Arctan2": (mp.atan2, 2, [pairs(-3, 3), wide, alike]),
        "Hypot": (mp.hypot, 2, [pairs(-3, 3), wide, alike]),
        "Logaddexp": (lambda a, b: mp.log(mp.exp(a) + mp.exp(b)), 2, [pairs(-2, 2), pairs(-600, 600), pairs(-1, 0)]),
        "Logaddexp2": (log_add(2), 2, [pairs(-2, 2), pairs(-600, 600), pairs(-1.5, 0)]),
        "Xlogy": (lambda a, b: a * mp.log(b), 2, [plain, logs]),
        "Xlog1py": (lambda a, b: a * mp.log1p(b), 2, [plain, logs]),
    }


def rounded(value, dtype):
    """The nearest number of the dtype, and what is left in ulp of the exact value."""
    digits, least, top = (24, -149, 128) if dtype == np.float32 else (53, -1074, 1024)
    if value == 0:
        return dtype(0), mpf(0)
    exponent = mp.frexp(value)[1]
    unit = mpf(2) ** max(exponent - digits, least)
    scaled = value / unit
    whole = mp.nint(scaled)
    if abs(whole * unit) >= mpf(2) ** top:
        return dtype(np.inf) * dtype(mp.sign(value)), mpf(0)
    return dtype(float(whole * unit)), scaled - whole


def section(lines, name, dtype, function, bound, arguments):
    integer = np.uint32 if dtype == np.float32 else np.uint64
    width = 8 if dtype == np.float32 else 16
    lines.append(f"{name} {'f32' if dtype == np.float32 else 'f64'} {bound}")
    for args in zip(*arguments, strict=True):
        value = function(*(mpf(float(a)) for a in args))
        y, rest = rounded(value, dtype)
        bits = [format(int(v.view(integer)), f"0{width}x") for v in (*args, y)]
        lines.append(" ".join([*bits, str(int(mp.nint(rest * 256)))]))


def main():
    mp.prec = 1400
    lines = []
    for dtype in (np.float64, np.float32):
        small = dtype == np.float32
        n = 15 if small else 30
        for name, (function, bound, samples) in unary(small).items():
            x = np.concatenate([s(n) for s in samples]).astype(dtype)
            section(lines, name, dtype, function, bound, [x])
        for name, (function, bound, samples) in binary(small).items():
            sets = [s(n) for s in samples]
            columns = [np.concatenate([s[i] for s in sets]).astype(dtype) for i in range(2)]
            section(lines, name, dtype, function, bound, columns)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")
    print(len(lines), "lines,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()

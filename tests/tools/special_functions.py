"""Writes the coefficients and the test tables of rust/math/src/special with mpmath.

    python tests/tools/special_functions.py

Each function is a table of polynomials over the quarters of binary octaves, [1, 1.25), [1.25, 1.5), …: the exponent and
the first two bits of the fraction index the table. A piece is c0 + s (c1 + s (c2 + …)) with s = x - centre. Where the
function has a zero nearby, that is the centre and c0 is 0, so that the relative error stays small.
"""

import random
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
TARGET = Path(__file__).parents[2] / "rust/math/src/special"

HEADER = """//! Written by tests/tools/special_functions.py. {0}
#![allow(clippy::excessive_precision, clippy::approx_constant)]
#![cfg_attr(rustfmt, rustfmt_skip)]
"""

DIGAMMA_ROOT = mp.findroot(mp.digamma, 1.46)


def lgamma(x):
    return mp.log(abs(mp.gamma(x)))


def quarters(low, high):
    """The pieces from low to high, as pairs of bounds."""
    out, a = [], mp.mpf(low)
    while a < high:
        octave = mp.mpf(2) ** mp.floor(mp.log(a, 2) + mp.mpf(10) ** -40)
        out.append((a, a + octave / 4))
        a += octave / 4
    return out


def interpolate(g, a, b, degree, weight=None):
    """Monomial coefficients of the polynomial through g at the Chebyshev points of [a, b], and its largest error.

    The error is relative to g, or multiplied by weight where that is given.
    """
    weight = weight or (lambda p: 1 / g(p))
    n = degree + 1
    points = [(a + b) / 2 + (b - a) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    matrix = mp.matrix(n, n)
    for i, p in enumerate(points):
        for j in range(n):
            matrix[i, j] = p**j
    coefficients = list(mp.lu_solve(matrix, mp.matrix([g(p) for p in points])))
    worst = mp.mpf(0)
    for k in range(4 * n + 1):
        p = a + (b - a) * (k + mp.mpf("0.37")) / (4 * n + 2)
        worst = max(worst, abs((mp.polyval(coefficients[::-1], p) - g(p)) * weight(p)))
    return coefficients, worst


def pieces(name, f, low, high, degree, zeros=()):
    """The table of f over the quarters of [low, high): lines of (centre, centre's low part, c0, c1, …)."""
    assert degree % 2, "an even degree has a node at the centre, where the slope is 0 / 0"
    rows, worst = [], mp.mpf(0)
    for a, b in quarters(low, high):
        near = [z for z in zeros if a - (b - a) / 4 <= z <= b + (b - a) / 4]
        centre = near[0] if near else (a + b) / 2
        c0 = mp.mpf(0) if near else f(centre)
        slope = lambda s, centre=centre, c0=c0: (f(centre + s) - c0) / s
        share = lambda s, centre=centre: s / f(centre + s)
        coefficients, error = interpolate(slope, a - centre, b - centre, degree, share)
        worst = max(worst, error)
        high_part = mp.mpf(float(centre))
        rows.append([high_part, centre - high_part, c0, *coefficients])
    print(f"{name}: {len(rows)} pieces of {degree + 2} coefficients, relative error {mp.nstr(worst, 3)}")
    return rows


def number(x):
    return repr(float(x))


def table(name, doc, rows):
    lines = [f"/// {doc}", f"pub const {name}: [[f64; {len(rows[0])}]; {len(rows)}] = ["]
    for row in rows:
        lines.append("    [" + ", ".join(number(c) for c in row) + "],")
    return "\n".join([*lines, "];", ""])


def series(name, doc, g, a, b, degree):
    coefficients, error = interpolate(g, mp.mpf(a), mp.mpf(b), degree)
    print(f"{name}: degree {degree}, relative error of the series {mp.nstr(error, 3)}")
    body = ", ".join(number(c) for c in coefficients)
    return f"/// {doc}\npub const {name}: [f64; {degree + 1}] = [{body}];\n"


def asymptotic(f):
    return lambda u: f(1 / mp.sqrt(u))


def coefficients():
    half_log_two_pi = mp.log(2 * mp.pi) / 2
    parts = [
        HEADER.format("Rows are centre, its low part, c0, c1, …"),
        table(
            "GAMMALN",
            "log Γ over the quarters of [0.5, 8).",
            pieces("gammaln", lgamma, 0.5, 8, 13, (mp.mpf(1), mp.mpf(2))),
        ),
        table("DIGAMMA", "ψ over the quarters of [1, 8).", pieces("digamma", mp.digamma, 1, 8, 13, (DIGAMMA_ROOT,))),
        table("TRIGAMMA", "ψ′ over the quarters of [1, 8).", pieces("trigamma", lambda x: mp.psi(1, x), 1, 8, 13)),
        series(
            "GAMMALN_TAIL",
            "x (log Γ(x) - (x - 1/2) (log x - 1) - (log 2π - 1) / 2) in 1/x², for x ≥ 8.",
            asymptotic(
                lambda x: x * (lgamma(x) - (x - mp.mpf(1) / 2) * (mp.log(x) - 1) - half_log_two_pi + mp.mpf(1) / 2)
            ),
            0,
            1 / mp.mpf(64),
            6,
        ),
        series(
            "DIGAMMA_TAIL",
            "x² (log x - 1/(2x) - ψ(x)) in 1/x², for x ≥ 8.",
            asymptotic(lambda x: x * x * (mp.log(x) - 1 / (2 * x) - mp.digamma(x))),
            0,
            1 / mp.mpf(64),
            6,
        ),
        series(
            "TRIGAMMA_TAIL",
            "x³ (ψ′(x) - 1/x - 1/(2x²)) in 1/x², for x ≥ 8.",
            asymptotic(lambda x: x**3 * (mp.psi(1, x) - 1 / x - 1 / (2 * x * x))),
            0,
            1 / mp.mpf(64),
            6,
        ),
        table(
            "ERFINV_TAIL",
            "erfinv(1 - exp(-z²)) / z over the quarters of [0.75, 7).",
            pieces("erfinv tail", lambda z: mp.erfinv(1 - mp.exp(-z * z)) / z, 0.75, 7, 13),
        ),
    ]
    centre = mp.sqrt(mp.pi) / 2
    parts.append(
        series(
            "ERFINV_CENTRE",
            "(erfinv(x) / x - √π/2) / x² in x², for |x| ≤ 1/2.",
            lambda u: (mp.erfinv(mp.sqrt(u)) / mp.sqrt(u) - centre) / u,
            0,
            mp.mpf(1) / 4,
            14,
        )
    )
    return "\n".join(parts)


def points(low, high, count, logarithmic=False):
    out = []
    for _ in range(count):
        if logarithmic:
            out.append(float(mp.exp(random.uniform(float(mp.log(low)), float(mp.log(high))))))
        else:
            out.append(random.uniform(low, high))
    return out


def reference():
    random.seed(20261121)
    positive = [
        0.5,
        1.0000001,
        0.9999999,
        1.25,
        1.5,
        1.75,
        1.99999,
        2.0000001,
        2.5,
        3.0,
        7.999,
        8.0,
        1e-300,
        1e10,
        1e100,
    ]
    positive += points(0.01, 12, 50) + points(1e-8, 1e8, 20, True)
    negative = [-x for x in points(0.01, 30, 25)] + [-1e-10, -0.5, -1.5, -100.25]
    inside = [1e-300, 1e-8, 0.5, -0.5, 0.75, 1 - 2.0**-53, -(1 - 2.0**-30), 0.999]
    inside += points(-1, 1, 40) + [1 - x for x in points(1e-14, 1e-1, 20, True)]
    rows = [
        ("GAMMALN", lgamma, positive + negative),
        ("DIGAMMA", mp.digamma, positive + negative),
        ("ERFINV", mp.erfinv, inside),
        (
            "TRIGAMMA",
            lambda x: mp.psi(1, x),
            positive[:12] + points(0.01, 12, 25) + points(1e-8, 1e8, 10, True) + negative,
        ),
    ]
    for n in (2, 3, 8, 30):
        rows.append(
            (f"POLYGAMMA_{n}", lambda x, n=n: mp.psi(n, x), points(0.2, 40, 15) + [-x for x in points(0.1, 12, 8)])
        )
    parts = [HEADER.format("Arguments and values, rounded from 60 digits.")]
    for name, f, xs in rows:
        values = [(x, float(f(mp.mpf(x)))) for x in xs]
        body = "\n".join(f"    ({x!r}, {y!r})," for x, y in values)
        parts.append(f"pub const {name}: [(f64, f64); {len(values)}] = [\n{body}\n];\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    (TARGET / "coefficients.rs").write_text(coefficients())
    (TARGET / "reference.rs").write_text(reference())

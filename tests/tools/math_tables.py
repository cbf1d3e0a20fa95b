"""Writes rust/math/src/tables.rs: coefficients and tables of the SIMD elementary functions.

Needs mpmath and numpy. Run from anywhere: python tests/tools/math_tables.py
"""

from pathlib import Path

import numpy as np
from mpmath import mp, mpf

mp.prec = 400

OUT = Path(__file__).resolve().parents[2] / "rust/math/src/tables.rs"
lines: list[str] = []


def double(x):
    """The nearest f64."""
    return float(mpf(x))


def pair(x):
    """The nearest sum of two f64."""
    hi = double(x)
    return hi, double(mpf(x) - hi)


def chop(x, bits):
    """x rounded to a multiple of 2^-bits."""
    return mp.nint(mpf(x) * mpf(2) ** bits) / mpf(2) ** bits


def interpolate(f, lo, hi, n):
    """Coefficients (powers of x) of the polynomial with n terms through the Chebyshev nodes of [lo, hi]: its error is
    within a factor of about two of the best."""
    # No node at 0 exactly, where the functions below are 0/0.
    lo, hi = mpf(lo), mpf(hi) * (1 + mpf(2) ** -40)
    nodes = [(lo + hi) / 2 + (hi - lo) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    divided = [f(x) for x in nodes]
    for level in range(1, n):
        for i in range(n - 1, level - 1, -1):
            divided[i] = (divided[i] - divided[i - 1]) / (nodes[i] - nodes[i - level])
    coefficients = [mpf(0)] * n
    for i in range(n - 1, -1, -1):
        shifted = [mpf(0), *coefficients[:-1]]
        coefficients = [s - nodes[i] * c for s, c in zip(shifted, coefficients, strict=True)]
        coefficients[0] += divided[i]
    return coefficients


def error(f, p, lo, hi, weight=lambda x: 1):
    """log2 of the largest error of p (rounded to f64) on [lo, hi], times weight."""
    p = [mpf(double(c)) for c in p]
    worst = mpf(0)
    for k in range(201):
        x = mpf(lo) + (mpf(hi) - mpf(lo)) * k / 200 + mpf(10) ** -40
        value = mpf(0)
        for c in reversed(p):
            value = value * x + c
        worst = max(worst, abs((value - f(x)) * weight(x)))
    return float(mp.log(worst, 2))


def emit(name, values, doc):
    lines.append(f"/// {doc}")
    if isinstance(values, float):
        lines.append(f"pub const {name}: f64 = {values!r};")
    else:
        body = "".join(f"    {double(v)!r},\n" for v in values)
        lines.append(f"pub static {name}: [f64; {len(values)}] = [\n{body}];")


def emit32(name, values, doc):
    lines.append(f"/// {doc}")
    body = "".join(f"    {np.float32(double(v))!s},\n" for v in values)
    lines.append(f"pub static {name}: [f32; {len(values)}] = [\n{body}];")


def single(x):
    """The nearest f32, as an f64."""
    return float(np.float32(double(x)))


def bits(x, dtype):
    return int(np.array(x, dtype).view(np.int32 if dtype == np.float32 else np.int64))


def from_bits(b, dtype):
    return np.array(b, np.int32 if dtype == np.float32 else np.int64).view(dtype).item()


def emit_pieces(name, table, doc):
    """A polynomial per piece, as one row of sixteen values per coefficient."""
    lines.append(f"/// {doc}")
    lines.append(f"pub static {name}: [[f64; 16]; {len(table)}] = [")
    for row in table:
        assert len(row) == 16
        lines.append("    [" + ", ".join(repr(double(v)) for v in row) + "],")
    lines.append("];")


def polynomial(name, f, lo, hi, n, doc, weight=lambda x: 1):
    p = interpolate(f, lo, hi, n)
    bits = error(f, p, lo, hi, weight)
    emit(name, p, f"{doc} Error of the function's value: 2^{bits:.1f}.")


def exponentials():
    root = [pair(mpf(2) ** (mpf(j) / 16))[0] for j in range(16)]
    emit("EXP2", root, "2^(j/16), and")
    emit(
        "EXP2_REST", [mpf(2) ** (mpf(j) / 16) / r - 1 for j, r in enumerate(root)], "by how much of itself it is short."
    )
    shifted = [from_bits(bits(r, np.float64) - (j << 48), np.float64) for j, r in enumerate(root)]
    emit("EXP2_SHIFTED", shifted, "2^(j/16) with its bits less j · 2^48: adding n · 2^48 to them gives 2^(n/16).")
    step = mp.log(2) / 16
    hi = chop(step, 42)
    emit("LN2_16_HI", double(hi), "ln 2 / 16 to a multiple of 2^-42, and")
    emit("LN2_16_LO", double(step - hi), "what is missing from it.")
    emit("INV_LN2_16", double(1 / step), "16 / ln 2.")
    b = step / 2 * mpf("1.01")
    polynomial(
        "EXP_POLY",
        lambda r: (mp.exp(r) - 1 - r) / r**2,
        -b,
        b,
        6,
        "(e^r - 1 - r) / r² on |r| ≤ ln 2 / 32.",
        lambda r: r**2,
    )

    root = [single(mpf(2) ** (mpf(j) / 16)) for j in range(16)]
    emit32("EXP2_F32", root, "The same for f32.")
    emit32("EXP2_REST_F32", [mpf(2) ** (mpf(j) / 16) / r - 1 for j, r in enumerate(root)], "The same for f32.")
    shifted = [from_bits(bits(r, np.float32) - (j << 19), np.float32) for j, r in enumerate(root)]
    emit32("EXP2_SHIFTED_F32", shifted, "The same for f32.")
    hi = single(step)
    emit("LN2_16_HI_F32", hi, "ln 2 / 16 in f32, and")
    emit("LN2_16_LO_F32", single(step - hi), "what is missing from it.")
    polynomial(
        "EXP_POLY_F32",
        lambda r: (mp.exp(r) - 1 - r) / r**2,
        -b,
        b,
        3,
        "(e^r - 1 - r) / r² on |r| ≤ ln 2 / 32.",
        lambda r: r**2,
    )

    def odd(t):
        return (mp.sinh(mp.sqrt(t)) - mp.sqrt(t)) / (t * mp.sqrt(t))

    polynomial("SINH_POLY", odd, 0, 1.001, 8, "(sinh r - r) / r³ in r².", lambda t: t)
    polynomial("SINH_POLY_F32", odd, 0, 1.001, 4, "(sinh r - r) / r³ in r².", lambda t: t)


def logarithms():
    reciprocal, high, low = [], [], []
    for j in range(16):
        lo = 1 + mpf(j) / 16
        hi = lo + mpf(1) / 16
        if j >= 8:
            lo, hi = lo / 2, hi / 2
        r = mpf(1) if j in (0, 15) else chop(2 / (lo + hi), 8)
        t = -mp.log(r)
        t_hi = chop(t, 42)
        reciprocal.append(r)
        high.append(t_hi)
        low.append(t - t_hi)
        assert lo * r - 1 >= -0.03126
        assert hi * r - 1 <= 0.06251
    emit("LOG_R", reciprocal, "1/m to eight bits, by the first four bits of the fraction of m in [0.75, 1.5).")
    emit("LOG_HI", high, "Its -ln, multiples of 2^-42, and")
    emit("LOG_LO", low, "what is missing from it.")
    reciprocal = [chop(r, 5) for r in reciprocal]
    high = [chop(-mp.log(r), 16) for r in reciprocal]
    emit32("LOG_R_F32", reciprocal, "The same for f32: 1/m to five bits,")
    emit32("LOG_HI_F32", high, "its -ln, a multiple of 2^-16, and")
    emit32("LOG_LO_F32", [-mp.log(r) - h for r, h in zip(reciprocal, high, strict=True)], "what is missing from it.")
    ln2 = mp.log(2)
    emit("LN2_HI_F32", double(chop(ln2, 16)), "ln 2 to a multiple of 2^-16, and")
    emit("LN2_LO_F32", single(ln2 - chop(ln2, 16)), "what is missing from it.")
    emit("LN2_HI", double(chop(ln2, 42)), "ln 2 to a multiple of 2^-42, and")
    emit("LN2_LO", double(ln2 - chop(ln2, 42)), "what is missing from it.")
    hi, lo = pair(ln2)
    emit("LN2", hi, "ln 2, and")
    emit("LN2_REST", lo, "what is missing from it.")
    for name, base in (("LN2", 1 / mp.log(2)), ("LN10", 1 / mp.log(10))):
        hi, lo = pair(base)
        emit(f"INV_{name}_HI", hi, "A reciprocal logarithm, and")
        emit(f"INV_{name}_LO", lo, "what is missing from it.")
        emit(f"INV_{name}_HI_F32", single(base), "The same for f32, and")
        emit(f"INV_{name}_LO_F32", single(base - single(base)), "what is missing from it.")
    f = lambda z: (mp.log1p(z) - z + z**2 / 2) / z**3
    polynomial("LOG_POLY", f, -0.03126, 0.06251, 9, "(ln(1+z) - z + z²/2) / z³.", lambda z: z**2)
    polynomial("LOG_POLY_F32", f, -0.045, 0.0626, 4, "(ln(1+z) - z + z²/2) / z³.", lambda z: z**2)
    polynomial(
        "LOG_TAIL",
        lambda z: (f(z) - mpf(1) / 3) / z,
        -0.03126,
        0.06251,
        10,
        "(ln(1+z) - z + z²/2 - z³/3) / z⁴.",
        lambda z: z**3,
    )
    emit("THIRD_LO", pair(mpf(1) / 3)[1], "What is missing from 1/3.")


def trigonometry():
    half_pi = mp.pi / 2
    p1 = double(half_pi)
    p2 = double(chop(half_pi - p1, 86))
    p3 = double(half_pi - p1 - p2)
    emit("PIO2_1", p1, "π/2 in three parts.")
    emit("PIO2_2", p2, "The second part, of 33 bits.")
    emit("PIO2_3", p3, "The third part.")
    emit("PIO2_REST", double(half_pi - p1), "The second and third part together.")
    emit("TWO_OVER_PI", double(1 / half_pi), "2/π.")
    b = (half_pi / 2 * mpf("1.001")) ** 2
    root = mp.sqrt
    polynomial(
        "SIN_POLY",
        lambda t: (mp.sin(root(t)) - root(t)) / (t * root(t)),
        0,
        b,
        6,
        "(sin r - r) / r³ in r².",
        lambda t: t,
    )
    polynomial(
        "COS_POLY",
        lambda t: (mp.cos(root(t)) - 1 + t / 2) / t**2,
        0,
        b,
        6,
        "(cos r - 1 + r²/2) / r⁴ in r².",
        lambda t: t**2,
    )
    b = mpf(7) / 16 * mpf("1.001")
    polynomial(
        "ATAN_POLY",
        lambda t: (mp.atan(root(t)) - root(t)) / (t * root(t)),
        0,
        b**2,
        12,
        "(atan r - r) / r³ in r².",
        lambda t: t,
    )
    polynomial(
        "ASIN_POLY",
        lambda t: (mp.asin(root(t)) - root(t)) / (t * root(t)),
        0,
        mpf("0.2503"),
        13,
        "(asin r - r) / r³ in r².",
        lambda t: t,
    )
    turns = [(1, 0), (1, 0.5), (1, 1), (1, 1.5), (0, 1)] + [(1, 0)] * 11
    angles = [pair(mp.atan2(s, c)) for c, s in turns]
    emit("ATAN_COS", [c for c, _ in turns], "Angles of 0, atan 1/2, 1, 3/2 and ∞: c and")
    emit("ATAN_SIN", [s for _, s in turns], "s, whose ratio is the tangent,")
    emit("ATAN_HI", [hi for hi, _ in angles], "the angle, and")
    emit("ATAN_LO", [lo for _, lo in angles], "what is missing from it.")
    # 2/π as 64-bit words, first word the fraction's first 64 bits, for huge arguments.
    save = mp.prec
    mp.prec = 1400
    value = int(mp.floor(2 / mp.pi * mpf(2) ** 1216))
    words = [0] + [value >> (1216 - 64 * (i + 1)) & (2**64 - 1) for i in range(19)]
    mp.prec = save
    lines.append("/// A word of zeros and the bits of 2/π after the point, 64 a word.")
    lines.append("pub static TWO_OVER_PI_BITS: [u64; 20] = [\n" + "".join(f"    0x{w:016x},\n" for w in words) + "];")


def roots():
    polynomial("RCBRT_POLY", lambda m: m ** (-mpf(1) / 3), 0.75, 1.5, 4, "m^(-1/3) on [0.75, 1.5].")
    powers = [mpf(2) ** {1: 1, 15: -1}.get(j, 0) for j in range(16)]
    emit("TWO", powers, "2^s by the last four bits of s in -1, 0, 1, and")
    emit("RCBRT_TWO", [p ** (-mpf(1) / 3) for p in powers], "2^(-s/3): first guesses only.")


def erf_pieces():
    """erf around j·25/64, j = 0…15: rows c0, its rest, c1, its rest, c2, …"""
    width = mpf(25) / 64
    n = 14
    columns = []
    for j in range(16):
        c = j * width
        if j == 0:
            odd = interpolate(lambda t: mp.erf(mp.sqrt(t)) / mp.sqrt(t), 0, (width / 2) ** 2, n // 2)
            p = [odd[k // 2] if k % 2 else mpf(0) for k in range(n)]
        else:
            p = interpolate(lambda h, c=c: mp.erf(c + h), -width / 2, width / 2, n)
        columns.append([*pair(p[0]), *pair(p[1]), *p[2:]])
    rows = [[column[i] for column in columns] for i in range(n + 2)]
    emit_pieces("ERF_PIECES", rows, "erf around j·25/64: c0, its rest, c1, its rest, c2, ….")


def erfc_pieces():
    """e^(x²) erfc(x) in t = 4/(x+4), around t = (j+1)/16, j = 1…15 (0 unused)."""
    n = 10

    def g(t):
        x = 4 / t - 4
        return mp.exp(x * x) * mp.erfc(x)

    columns = [[0.0] * (n + 1)]
    for j in range(1, 16):
        c = mpf(j + 1) / 16
        p = interpolate(lambda h, c=c: g(c + h), -mpf(1) / 32, mpf(1) / 32, n)
        columns.append([*pair(p[0]), *p[1:]])
    rows = [[column[i] for column in columns] for i in range(n + 1)]
    emit_pieces("ERFCX_PIECES", rows, "e^(x²) erfc x around 4/(x+4) = (j+1)/16: c0, its rest, c1, c2, ….")
    # how good: relative error of the pieces
    worst = mpf(0)
    for j in range(1, 16):
        c = mpf(j + 1) / 16
        p = [mpf(v) for v in columns[j]]
        for k in range(41):
            h = mpf(1) / 32 * (k - 20) / 20
            value = mpf(0)
            for q in reversed(p[2:]):
                value = value * h + q
            value = p[0] + p[1] + h * value
            worst = max(worst, abs(value / g(c + h) - 1))
    print(f"erfcx pieces: relative error 2^{float(mp.log(worst, 2)):.1f}")


HEADER = """//! Coefficients and tables of the elementary functions. Written by tests/tools/math_tables.py; do not edit.
// Coefficients that happen to lie near 1/π or ln 2 are not those constants.
#![allow(clippy::approx_constant)]

"""


def main() -> None:
    """Write the tables."""
    exponentials()
    logarithms()
    trigonometry()
    roots()
    erf_pieces()
    erfc_pieces()
    OUT.write_text(HEADER + "\n".join(lines) + "\n")
    for line in lines:
        if "2^-" in line and "Error" in line:
            print(line)


if __name__ == "__main__":
    main()

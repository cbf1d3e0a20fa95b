//! The float kernels of every instruction set that this machine has: against values by mpmath, and against NumPy's special
//! values.
#![allow(unsafe_code)]

use mlgrad_math as math;
use mlgrad_math::DType;
use mlgrad_math::ops::{Binary, Unary};
use mlgrad_math::{Isa, Kernel};

/// A kernel on f64 arguments given in slices; in f32 they are rounded first and the result widened (exactly).
fn run(kernel: Kernel, dtype: DType, a: &[f64], b: &[f64]) -> Vec<f64> {
    let n = a.len();
    let pack = |v: &[f64]| -> Vec<u8> {
        let mut bytes: Vec<u8> = match dtype {
            DType::F32 => v.iter().flat_map(|x| (*x as f32).to_ne_bytes()).collect(),
            _ => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        };
        bytes.resize(n * dtype.size() + 64, 0x3f);
        bytes
    };
    let (a, b) = (pack(a), pack(b));
    let mut dst = vec![0u8; n * dtype.size() + 64];
    // SAFETY: every buffer has 64 bytes past its elements.
    unsafe { kernel(n, dst.as_mut_ptr(), a.as_ptr(), b.as_ptr(), std::ptr::null()) };
    let size = dtype.size();
    (0..n)
        .map(|i| {
            let at = &dst[i * size..(i + 1) * size];
            match dtype {
                DType::F32 => f32::from_ne_bytes(at.try_into().unwrap()) as f64,
                _ => f64::from_ne_bytes(at.try_into().unwrap()),
            }
        })
        .collect()
}

/// A predicate's kernel: its bytes.
fn check(kernel: Kernel, dtype: DType, a: &[f64], b: &[f64]) -> Vec<u8> {
    let n = a.len();
    let pack = |v: &[f64]| -> Vec<u8> {
        let mut bytes: Vec<u8> = match dtype {
            DType::F32 => v.iter().flat_map(|x| (*x as f32).to_ne_bytes()).collect(),
            _ => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        };
        bytes.resize(bytes.len() + 64, 0);
        bytes
    };
    let (a, b) = (pack(a), pack(b));
    let mut dst = vec![7u8; n + 64];
    // SAFETY: every buffer has 64 bytes past its elements.
    unsafe { kernel(n, dst.as_mut_ptr(), a.as_ptr(), b.as_ptr(), std::ptr::null()) };
    dst.truncate(n);
    dst
}

const UNARY: [Unary; 25] = {
    use Unary::*;
    [
        Sqrt, Cbrt, Exp, Exp2, Expm1, Log, Log2, Log10, Log1p, Sin, Cos, Tan, Arcsin, Arccos, Arctan, Sinh, Cosh, Tanh,
        Arcsinh, Arccosh, Arctanh, Erf, Erfc, Expit, LogExpit,
    ]
};

const BINARY: [Binary; 7] = {
    use Binary::*;
    [Pow, Arctan2, Hypot, Logaddexp, Logaddexp2, Xlogy, Xlog1py]
};

/// The kernel by the operation's name.
fn find(isa: Isa, name: &str, dtype: DType) -> Kernel {
    let unary = UNARY.iter().find(|op| format!("{op:?}") == name).and_then(|op| math::unary(isa, *op, dtype));
    let binary = BINARY.iter().find(|op| format!("{op:?}") == name).and_then(|op| math::binary(isa, *op, dtype));
    unary.or(binary).unwrap_or_else(|| panic!("no kernel {name} {dtype} for {}", isa.name()))
}

/// One unit in the last place of y.
fn ulp(y: f64, dtype: DType) -> f64 {
    let (digits, least) = if dtype == DType::F32 { (24, -149) } else { (53, -1074) };
    let exponent = if y == 0.0 { least } else { (libm::frexp(y).1 - digits).max(least) };
    libm::ldexp(1.0, exponent)
}

struct Section<'a> {
    name: &'a str,
    dtype: DType,
    bound: f64,
    args: Vec<Vec<f64>>,
    value: Vec<f64>,
    /// What rounding the value left, in ulp.
    rest: Vec<f64>,
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut all: Vec<Section> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[1] == "f64" || words[1] == "f32" {
            let dtype = if words[1] == "f32" { DType::F32 } else { DType::F64 };
            let bound = words[2].parse().unwrap();
            all.push(Section { name: words[0], dtype, bound, args: vec![vec![], vec![]], value: vec![], rest: vec![] });
            continue;
        }
        let s = all.last_mut().unwrap();
        let number = |w: &str| match s.dtype {
            DType::F32 => f32::from_bits(u32::from_str_radix(w, 16).unwrap()) as f64,
            _ => f64::from_bits(u64::from_str_radix(w, 16).unwrap()),
        };
        let count = words.len();
        for (i, w) in words[..count - 2].iter().enumerate() {
            s.args[i].push(number(w));
        }
        s.value.push(number(words[count - 2]));
        s.rest.push(words[count - 1].parse::<f64>().unwrap() / 256.0);
    }
    for s in &mut all {
        if s.args[1].is_empty() {
            s.args[1] = s.args[0].clone();
        }
    }
    all
}

#[test]
fn within_the_bounds_of_values_by_mpmath() {
    let text = include_str!("data/math_reference.txt");
    let sections = sections(text);
    assert_eq!(sections.len(), 2 * (UNARY.len() + BINARY.len()));
    for isa in math::available() {
        for s in &sections {
            let got = run(find(isa, s.name, s.dtype), s.dtype, &s.args[0], &s.args[1]);
            let mut worst = (0.0f64, 0);
            for (i, got) in got.iter().enumerate() {
                let (value, rest) = (s.value[i], s.rest[i]);
                // The exact value is value + rest · ulp.
                let error = if *got == value { rest.abs() } else { ((got - value) / ulp(value, s.dtype) - rest).abs() };
                if error.is_nan() || error > worst.0 {
                    worst = (if error.is_nan() { f64::INFINITY } else { error }, i);
                }
            }
            println!("{} {} {}: {:.2} ulp", isa.name(), s.name, s.dtype, worst.0);
            let i = worst.1;
            // The rest is given to 1/512 of an ulp.
            assert!(
                worst.0 <= s.bound + 0.002,
                "{} {} {} at ({:e}, {:e}): {:e} instead of {:e}, {} ulp",
                isa.name(),
                s.name,
                s.dtype,
                s.args[0][i],
                s.args[1][i],
                got[i],
                s.value[i],
                worst.0
            );
        }
    }
}

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// The same number, the sign of zero included; any nan is nan.
fn same(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits()
}

#[track_caller]
fn expect1(op: Unary, table: &[(f64, f64)]) {
    for isa in math::available() {
        for dtype in [DType::F64, DType::F32] {
            let x: Vec<f64> = table.iter().map(|t| t.0).collect();
            let got = run(math::unary(isa, op, dtype).unwrap(), dtype, &x, &x);
            for (i, (x, y)) in table.iter().enumerate() {
                let y = if dtype == DType::F32 { *y as f32 as f64 } else { *y };
                assert!(same(got[i], y), "{} {op:?} {dtype} at {x:e}: {:e} instead of {y:e}", isa.name(), got[i]);
            }
        }
    }
}

#[track_caller]
fn expect2(op: Binary, table: &[(f64, f64, f64)]) {
    for isa in math::available() {
        for dtype in [DType::F64, DType::F32] {
            let a: Vec<f64> = table.iter().map(|t| t.0).collect();
            let b: Vec<f64> = table.iter().map(|t| t.1).collect();
            let got = run(math::binary(isa, op, dtype).unwrap(), dtype, &a, &b);
            for (i, (a, b, y)) in table.iter().enumerate() {
                let y = if dtype == DType::F32 { *y as f32 as f64 } else { *y };
                assert!(
                    same(got[i], y),
                    "{} {op:?} {dtype} at ({a:e}, {b:e}): {:e} instead of {y:e}",
                    isa.name(),
                    got[i]
                );
            }
        }
    }
}

#[test]
#[rustfmt::skip]
fn special_values_of_one_argument() {
    use std::f64::consts::{FRAC_PI_2, LN_2, PI};
    use Unary::*;
    let odd = [(0.0, 0.0), (-0.0, -0.0), (NAN, NAN)];
    for op in [Sin, Tan, Arcsin, Arctan, Sinh, Tanh, Arcsinh, Arctanh, Expm1, Log1p, Erf, Cbrt, Sqrt, Rint, Floor, Ceil, Trunc] {
        expect1(op, &odd);
    }
    expect1(Exp, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN), (1e5, INF), (-1e5, 0.0), (1e300, INF), (-1e300, 0.0)]);
    expect1(Exp2, &[(0.0, 1.0), (10.0, 1024.0), (-3.0, 0.125), (-149.0, 2f64.powi(-149)), (1e5, INF), (-1e5, 0.0), (INF, INF), (-INF, 0.0), (NAN, NAN)]);
    expect1(Expm1, &[(INF, INF), (-INF, -1.0), (1e5, INF), (-1e5, -1.0), (-100.0, -1.0)]);
    expect1(Log, &[(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (-INF, NAN), (INF, INF), (NAN, NAN)]);
    expect1(Log2, &[(1.0, 0.0), (8.0, 3.0), (2f64.powi(-149), -149.0), (0.0, -INF), (-2.0, NAN), (INF, INF), (NAN, NAN)]);
    expect1(Log10, &[(1.0, 0.0), (1000.0, 3.0), (1e10, 10.0), (0.0, -INF), (-2.0, NAN), (INF, INF), (NAN, NAN)]);
    expect1(Log1p, &[(-1.0, -INF), (-1.5, NAN), (-INF, NAN), (INF, INF), (1.0, LN_2)]);
    for op in [Sin, Cos, Tan] {
        expect1(op, &[(INF, NAN), (-INF, NAN), (NAN, NAN)]);
    }
    expect1(Cos, &[(0.0, 1.0), (-0.0, 1.0)]);
    expect1(Arcsin, &[(1.0, FRAC_PI_2), (-1.0, -FRAC_PI_2), (1.5, NAN), (-1.5, NAN), (INF, NAN)]);
    expect1(Arccos, &[(1.0, 0.0), (0.0, FRAC_PI_2), (-1.0, PI), (1.5, NAN), (-1.5, NAN), (NAN, NAN)]);
    expect1(Arctan, &[(INF, FRAC_PI_2), (-INF, -FRAC_PI_2), (1.0, PI / 4.0)]);
    expect1(Sinh, &[(INF, INF), (-INF, -INF), (1e4, INF), (-1e4, -INF)]);
    expect1(Cosh, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (-1e4, INF), (NAN, NAN)]);
    expect1(Tanh, &[(INF, 1.0), (-INF, -1.0), (50.0, 1.0), (-1e300, -1.0)]);
    expect1(Arcsinh, &[(INF, INF), (-INF, -INF)]);
    expect1(Arccosh, &[(1.0, 0.0), (0.5, NAN), (-5.0, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)]);
    expect1(Arctanh, &[(1.0, INF), (-1.0, -INF), (1.5, NAN), (-INF, NAN)]);
    expect1(Erf, &[(INF, 1.0), (-INF, -1.0), (10.0, 1.0)]);
    expect1(Erfc, &[(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (40.0, 0.0), (-40.0, 2.0), (NAN, NAN)]);
    expect1(Expit, &[(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e4, 1.0), (-1e4, 0.0), (NAN, NAN)]);
    expect1(LogExpit, &[(0.0, -LN_2), (-INF, -INF), (INF, -0.0), (-1e4, -1e4), (1e4, -0.0), (NAN, NAN)]);
    expect1(Cbrt, &[(INF, INF), (-INF, -INF), (27.0, 3.0), (-8.0, -2.0), (2f64.powi(-147), 2f64.powi(-49))]);
    expect1(Sqrt, &[(4.0, 2.0), (-1.0, NAN), (INF, INF), (-INF, NAN)]);
    expect1(Sign, &[(0.0, 0.0), (-0.0, 0.0), (3.0, 1.0), (-3.0, -1.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN)]);
    expect1(Floor, &[(-0.5, -1.0), (0.5, 0.0), (2.5, 2.0), (INF, INF), (-INF, -INF), (4194304.5, 4194304.0)]);
    expect1(Ceil, &[(-0.5, -0.0), (0.5, 1.0), (2.5, 3.0), (INF, INF)]);
    expect1(Trunc, &[(-0.5, -0.0), (-2.5, -2.0), (2.5, 2.0), (-INF, -INF)]);
    expect1(Rint, &[(0.5, 0.0), (-0.5, -0.0), (1.5, 2.0), (2.5, 2.0), (-2.5, -2.0), (INF, INF)]);
    expect1(Neg, &[(0.0, -0.0), (-0.0, 0.0), (INF, -INF), (1.5, -1.5)]);
    expect1(Abs, &[(-0.0, 0.0), (-INF, INF), (-1.5, 1.5), (NAN, NAN)]);
    expect1(Reciprocal, &[(0.0, INF), (-0.0, -INF), (INF, 0.0), (-INF, -0.0), (3.0, 1.0 / 3.0)]);
    expect1(Square, &[(-3.0, 9.0), (-INF, INF), (NAN, NAN), (-0.0, 0.0)]);
}

#[test]
fn sine_and_cosine_together_have_the_bits_of_each() {
    let mut x: Vec<f64> = (0..1000).map(|i| (f64::from(i) - 500.0) * 0.37).collect();
    x.extend([0.0, -0.0, INF, NAN, 1e300, -1e22, 5e-324, 1e-200, 1e9]);
    for isa in math::available() {
        for dtype in [DType::F64, DType::F32] {
            let size = if dtype == DType::F64 { 8 } else { 4 };
            let alone = [Unary::Sin, Unary::Cos].map(|op| run(math::unary(isa, op, dtype).unwrap(), dtype, &x, &x));
            let bytes: Vec<u8> = match dtype {
                DType::F64 => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
                _ => x.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
            };
            let mut operands = [bytes.clone(), bytes.clone(), bytes];
            operands.iter_mut().for_each(|o| o.resize((size * x.len()).next_multiple_of(64), 0));
            let [sine, cosine, a] = &mut operands;
            let (sine, cosine) = (sine.as_mut_ptr(), cosine.as_mut_ptr());
            // SAFETY: three arrays of whole vectors.
            unsafe {
                let kernel = math::sin_and_cos(isa, dtype).unwrap();
                kernel(x.len(), sine, a.as_ptr(), cosine, std::ptr::null());
            }
            for (both, alone) in operands.iter().zip(&alone) {
                for (i, &y) in alone.iter().enumerate() {
                    let both = match dtype {
                        DType::F64 => f64::from_le_bytes(both[8 * i..][..8].try_into().unwrap()),
                        _ => f32::from_le_bytes(both[4 * i..][..4].try_into().unwrap()) as f64,
                    };
                    assert!(same(both, y), "{} {dtype} at {:e}: {both:e}, alone {y:e}", isa.name(), x[i]);
                }
            }
        }
    }
}

#[test]
#[rustfmt::skip]
fn special_values_of_two_arguments() {
    use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, LN_2, PI};
    use Binary::*;
    // As C99 and NumPy have pow.
    expect2(Pow, &[
        (NAN, 0.0, 1.0), (1.0, NAN, 1.0), (0.0, 0.0, 1.0), (INF, 0.0, 1.0), (NAN, 1.0, NAN), (2.0, NAN, NAN),
        (0.0, 2.0, 0.0), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0), (0.0, -1.0, INF), (-0.0, -3.0, -INF), (-0.0, -2.0, INF), (-0.0, 0.5, 0.0),
        (-2.0, 3.0, -8.0), (-2.0, 2.0, 4.0), (-2.0, 0.5, NAN), (-2.0, -1.0, -0.5), (3.0, 2.0, 9.0), (10.0, 3.0, 1000.0),
        (INF, 2.0, INF), (INF, -2.0, 0.0), (-INF, 3.0, -INF), (-INF, 2.0, INF), (-INF, -3.0, -0.0), (-INF, 0.5, INF), (-INF, -0.5, 0.0),
        (2.0, INF, INF), (0.5, INF, 0.0), (2.0, -INF, 0.0), (0.5, -INF, INF), (-1.0, INF, 1.0), (-1.0, -INF, 1.0), (0.0, INF, 0.0), (0.0, -INF, INF),
        (2.0, 1e4, INF), (2.0, -1e4, 0.0), (-2.0, 16777216.0, INF), (-1.0, 1e30, 1.0), (-1.0, 8388607.0, -1.0), (2.0, -149.0, 2f64.powi(-149)),
    ]);
    expect2(Arctan2, &[
        (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0), (0.0, -0.0, PI), (-0.0, -0.0, -PI), (0.0, 1.0, 0.0), (-0.0, -1.0, -PI), (1.0, 0.0, FRAC_PI_2), (-1.0, -0.0, -FRAC_PI_2),
        (INF, INF, FRAC_PI_4), (INF, -INF, 3.0 * FRAC_PI_4), (-INF, -INF, -3.0 * FRAC_PI_4), (1.0, INF, 0.0), (-1.0, INF, -0.0), (1.0, -INF, PI), (INF, 1.0, FRAC_PI_2),
        (NAN, 1.0, NAN), (1.0, NAN, NAN),
    ]);
    expect2(Hypot, &[(3.0, 4.0, 5.0), (INF, NAN, INF), (NAN, -INF, INF), (NAN, 1.0, NAN), (0.0, 0.0, 0.0), (-0.0, -0.0, 0.0), (3e38, 0.0, 3e38)]);
    expect2(Logaddexp, &[(0.0, 0.0, LN_2), (INF, INF, INF), (-INF, -INF, -INF), (INF, -INF, INF), (-INF, 3.0, 3.0), (3.0, INF, INF), (NAN, 1.0, NAN), (INF, NAN, NAN), (1e5, 1.0, 1e5)]);
    expect2(Logaddexp2, &[(0.0, 0.0, 1.0), (INF, INF, INF), (-INF, -INF, -INF), (INF, -INF, INF), (3.0, -INF, 3.0), (1.0, NAN, NAN)]);
    expect2(Maximum, &[(1.0, 2.0, 2.0), (NAN, 1.0, NAN), (1.0, NAN, NAN), (INF, -INF, INF)]);
    expect2(Minimum, &[(1.0, 2.0, 1.0), (NAN, 1.0, NAN), (1.0, NAN, NAN), (INF, -INF, -INF)]);
    expect2(Fmax, &[(1.0, 2.0, 2.0), (NAN, 1.0, 1.0), (1.0, NAN, 1.0), (NAN, NAN, NAN)]);
    expect2(Fmin, &[(1.0, 2.0, 1.0), (NAN, 1.0, 1.0), (1.0, NAN, 1.0), (NAN, NAN, NAN)]);
    expect2(Xlogy, &[(0.0, 0.0, 0.0), (0.0, INF, 0.0), (0.0, -1.0, 0.0), (-0.0, 2.0, 0.0), (0.0, NAN, NAN), (2.0, 0.0, -INF), (2.0, 1.0, 0.0), (1.0, -1.0, NAN)]);
    expect2(Xlog1py, &[(0.0, -1.0, 0.0), (0.0, -5.0, 0.0), (0.0, NAN, NAN), (2.0, -1.0, -INF), (1.0, -2.0, NAN)]);
    expect2(Copysign, &[(1.0, -0.0, -1.0), (-1.0, 0.0, 1.0), (-INF, 1.0, INF)]);
    expect2(Fmod, &[(5.0, 3.0, 2.0), (-5.0, 3.0, -2.0), (5.0, -3.0, 2.0), (-4.0, 2.0, -0.0), (1.0, 0.0, NAN), (INF, 1.0, NAN), (1.0, INF, 1.0), (-1.0, INF, -1.0)]);
    expect2(Remainder, &[(5.0, 3.0, 2.0), (-5.0, 3.0, 1.0), (5.0, -3.0, -1.0), (-4.0, 2.0, 0.0), (4.0, -2.0, -0.0), (1.0, 0.0, NAN), (INF, 1.0, NAN), (1.0, INF, 1.0), (-1.0, INF, INF), (0.0, INF, 0.0)]);
    expect2(FloorDivide, &[(5.0, 3.0, 1.0), (-5.0, 3.0, -2.0), (5.0, -3.0, -2.0), (-4.0, 2.0, -2.0), (1.0, 0.0, INF), (-1.0, 0.0, -INF), (0.0, 0.0, NAN), (1.0, INF, 0.0), (-1.0, INF, -1.0), (INF, 1.0, NAN), (-0.0, 3.0, -0.0)]);
}

#[test]
fn nextafter_steps_by_one_bit() {
    for isa in math::available() {
        let kernel = math::binary(isa, Binary::Nextafter, DType::F64).unwrap();
        let a = [1.0, 1.0, -1.0, 0.0, -0.0, f64::MAX, 5e-324, INF, NAN, 2.0];
        let b = [2.0, 0.0, 0.0, -1.0, 1.0, INF, 0.0, 0.0, 1.0, 2.0];
        let got = run(kernel, DType::F64, &a, &b);
        let one = 1.0f64.to_bits();
        let want = [
            f64::from_bits(one + 1),
            f64::from_bits(one - 1),
            -f64::from_bits(one - 1),
            -5e-324,
            5e-324,
            INF,
            0.0,
            f64::MAX,
            NAN,
            2.0,
        ];
        assert!(got.iter().zip(want).all(|(g, w)| same(*g, w)), "{}: {got:?}", isa.name());
    }
}

#[test]
fn comparisons_and_predicates() {
    let values = [0.0, -0.0, 1.0, -1.5, INF, -INF, NAN, 2.5, 1e-40];
    let (mut a, mut b) = (vec![], vec![]);
    for x in values {
        for y in values {
            a.push(x);
            b.push(y);
        }
    }
    type Test2 = (Binary, fn(f64, f64) -> bool);
    let two: [Test2; 9] = [
        (Binary::Less, |x, y| x < y),
        (Binary::LessEqual, |x, y| x <= y),
        (Binary::Greater, |x, y| x > y),
        (Binary::GreaterEqual, |x, y| x >= y),
        (Binary::Equal, |x, y| x == y),
        (Binary::NotEqual, |x, y| x != y),
        (Binary::LogicalAnd, |x, y| x != 0.0 && y != 0.0),
        (Binary::LogicalOr, |x, y| x != 0.0 || y != 0.0),
        (Binary::LogicalXor, |x, y| (x != 0.0) != (y != 0.0)),
    ];
    type Test1 = (Unary, fn(f64) -> bool);
    let one: [Test1; 5] = [
        (Unary::IsNan, f64::is_nan),
        (Unary::IsInf, f64::is_infinite),
        (Unary::IsFinite, f64::is_finite),
        (Unary::Signbit, f64::is_sign_negative),
        (Unary::LogicalNot, |x| x == 0.0),
    ];
    for isa in math::available() {
        for dtype in [DType::F64, DType::F32] {
            for (op, want) in two {
                let got = check(math::binary(isa, op, dtype).unwrap(), dtype, &a, &b);
                for i in 0..a.len() {
                    assert_eq!(got[i], want(a[i], b[i]) as u8, "{} {op:?} {dtype} {} {}", isa.name(), a[i], b[i]);
                }
            }
            for (op, want) in one {
                let got = check(math::unary(isa, op, dtype).unwrap(), dtype, &a, &a);
                for i in 0..a.len() {
                    assert_eq!(got[i], want(a[i]) as u8, "{} {op:?} {dtype} {}", isa.name(), a[i]);
                }
            }
        }
    }
}

/// Numbers of all sizes, from a generator of our own so that the test is the same everywhere.
fn numbers(n: usize, seed: u64, decades: f64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n)
        .map(|_| {
            let sign = if next() < 0.5 { -1.0 } else { 1.0 };
            sign * 10f64.powf((next() - 0.5) * decades) * (1.0 + next())
        })
        .collect()
}

#[test]
fn arithmetic_is_ieee() {
    let (a, b) = (numbers(997, 1, 40.0), numbers(997, 2, 40.0));
    type Op = (Binary, fn(f64, f64) -> f64);
    let ops: [Op; 4] = [
        (Binary::Add, |x, y| x + y),
        (Binary::Sub, |x, y| x - y),
        (Binary::Mul, |x, y| x * y),
        (Binary::Div, |x, y| x / y),
    ];
    for isa in math::available() {
        for (op, want) in ops {
            let got = run(math::binary(isa, op, DType::F64).unwrap(), DType::F64, &a, &b);
            assert!((0..a.len()).all(|i| got[i].to_bits() == want(a[i], b[i]).to_bits()), "{} {op:?}", isa.name());
        }
    }
}

/// NumPy's npy_divmod, line by line.
fn divmod(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    if b == 0.0 {
        return (a / b, rest);
    }
    let mut div = (a - rest) / b;
    if rest != 0.0 {
        if (b < 0.0) != (rest < 0.0) {
            rest += b;
            div -= 1.0;
        }
    } else {
        rest = 0f64.copysign(b);
    }
    let floor = if div != 0.0 {
        let f = div.floor();
        if div - f > 0.5 { f + 1.0 } else { f }
    } else {
        0f64.copysign(a / b)
    };
    (floor, rest)
}

#[test]
fn division_with_remainder_follows_numpy() {
    let (mut a, mut b) = (numbers(2000, 3, 30.0), numbers(2000, 4, 30.0));
    // Multiples, near multiples, and quotients beyond 2^53.
    for (x, y) in numbers(500, 5, 4.0).into_iter().zip(numbers(500, 6, 4.0)) {
        let whole = (x * 10.0).round();
        a.extend([whole * 0.25, y * whole, 1e300 * x, whole]);
        b.extend([0.5, y, y, 1e-310 * y]);
    }
    for isa in math::available() {
        let fmod = run(math::binary(isa, Binary::Fmod, DType::F64).unwrap(), DType::F64, &a, &b);
        let rest = run(math::binary(isa, Binary::Remainder, DType::F64).unwrap(), DType::F64, &a, &b);
        let floor = run(math::binary(isa, Binary::FloorDivide, DType::F64).unwrap(), DType::F64, &a, &b);
        for i in 0..a.len() {
            let (f, r) = divmod(a[i], b[i]);
            let at = format!("{} ({:e}, {:e})", isa.name(), a[i], b[i]);
            assert!(same(fmod[i], a[i] % b[i]), "fmod {at}: {:e} {:e}", fmod[i], a[i] % b[i]);
            assert!(same(rest[i], r), "remainder {at}: {:e} {r:e}", rest[i]);
            assert!(same(floor[i], f), "floor_divide {at}: {:e} {f:e}", floor[i]);
        }
    }
}

#[test]
fn bits_do_not_depend_on_position_or_length_or_place() {
    let x: Vec<f64> = numbers(203, 7, 3.0).into_iter().map(f64::abs).collect();
    let y = numbers(203, 8, 1.0);
    for isa in math::available() {
        for dtype in [DType::F64, DType::F32] {
            for name in UNARY.iter().map(|op| format!("{op:?}")).chain(BINARY.iter().map(|op| format!("{op:?}"))) {
                let kernel = find(isa, &name, dtype);
                let whole = run(kernel, dtype, &x, &y);
                for (from, to) in [(0, 1), (5, 6), (3, 40), (100, 203)] {
                    let part = run(kernel, dtype, &x[from..to], &y[from..to]);
                    assert!(
                        part.iter().zip(&whole[from..to]).all(|(p, w)| same(*p, *w)),
                        "{} {name} {dtype} {from}..{to}",
                        isa.name()
                    );
                }
                // In place: the result over the first operand.
                let mut buffer = [0u8; 203 * 8 + 64];
                for (i, v) in x.iter().enumerate() {
                    match dtype {
                        DType::F32 => buffer[i * 4..i * 4 + 4].copy_from_slice(&(*v as f32).to_ne_bytes()),
                        _ => buffer[i * 8..i * 8 + 8].copy_from_slice(&v.to_ne_bytes()),
                    }
                }
                let mut second: Vec<u8> = match dtype {
                    DType::F32 => y.iter().flat_map(|v| (*v as f32).to_ne_bytes()).collect(),
                    _ => y.iter().flat_map(|v| v.to_ne_bytes()).collect(),
                };
                second.resize(second.len() + 64, 0);
                let p = buffer.as_mut_ptr();
                // SAFETY: both buffers have 64 bytes past their elements.
                unsafe { kernel(203, p, p, second.as_ptr(), std::ptr::null()) };
                for (i, w) in whole.iter().enumerate() {
                    let got = match dtype {
                        DType::F32 => f32::from_ne_bytes(buffer[i * 4..i * 4 + 4].try_into().unwrap()) as f64,
                        _ => f64::from_ne_bytes(buffer[i * 8..i * 8 + 8].try_into().unwrap()),
                    };
                    assert!(same(got, *w), "{} {name} {dtype} in place at {i}", isa.name());
                }
            }
        }
    }
}

#[test]
fn the_right_dtypes() {
    let isa = math::isa();
    for dtype in [DType::C64, DType::C128] {
        assert!(math::unary(isa, Unary::Exp, dtype).is_none());
        assert!(math::binary(isa, Binary::Add, dtype).is_none());
    }
    assert!(math::unary(isa, Unary::Invert, DType::F64).is_none());
    assert!(math::binary(isa, Binary::Gcd, DType::F32).is_none());
    assert!(math::unary(isa, Unary::Exp, DType::I64).is_none());
    assert!(math::unary(isa, Unary::Gammaln, DType::F64).is_some());
}

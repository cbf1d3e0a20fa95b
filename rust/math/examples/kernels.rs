//! ns an element of every float kernel, in L1: cargo run --release -p mlgrad-core --example kernels [isa] [filter]
#![allow(unsafe_code)]

use mlgrad_math::DType;
use mlgrad_math::ops::{Binary, Unary};
use mlgrad_math::{self as math, Isa, Kernel};
use std::time::Instant;

const N: usize = 1024;

#[rustfmt::skip]
const UNARY: [Unary; 43] = {
    use Unary::*;
    [
        Neg, Abs, Sign, Square, Reciprocal, Floor, Ceil, Trunc, Rint, Sqrt, Cbrt, Exp, Exp2, Expm1, Log, Log2, Log10, Log1p,
        Sin, Cos, Tan, Arcsin, Arccos, Arctan, Sinh, Cosh, Tanh, Arcsinh, Arccosh, Arctanh, Erf, Erfc, Erfinv, Expit,
        LogExpit, Gammaln, Digamma, Polygamma(1), IsNan, IsInf, IsFinite, Signbit, LogicalNot,
    ]
};

#[rustfmt::skip]
const BINARY: [Binary; 29] = {
    use Binary::*;
    [
        Add, Sub, Mul, Div, FloorDivide, Remainder, Fmod, Pow, Maximum, Minimum, Fmax, Fmin, Arctan2, Hypot, Logaddexp,
        Logaddexp2, Copysign, Nextafter, Xlogy, Xlog1py, Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual, LogicalAnd,
        LogicalOr, LogicalXor,
    ]
};

/// The best of several runs.
fn time(kernel: Kernel, dst: &mut [u64], a: &[u64], b: &[u64]) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let start = Instant::now();
        let rounds = 200;
        for _ in 0..rounds {
            // SAFETY: the buffers have N elements of eight bytes, a multiple of whole vectors.
            unsafe { kernel(N, dst.as_mut_ptr().cast(), a.as_ptr().cast(), b.as_ptr().cast(), std::ptr::null()) };
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (rounds * N) as f64);
    }
    best
}

fn main() {
    let mut filter = String::new();
    let mut sets = math::available();
    for arg in std::env::args().skip(1) {
        match math::available().into_iter().find(|i| i.name() == arg) {
            Some(isa) => sets = vec![isa],
            None => filter = arg,
        }
    }
    // Between 1 and 2, or between 0 and 1 for the functions that end there; b between 0 and 1.
    let unit: Vec<f64> = (0..N).map(|i| (i as f64 * 0.618_033_988_749_894_9).fract()).collect();
    let over = |x: &f64| 1.0 + 3.0 * x;
    let pack = |v: &[f64], dtype: DType| -> Vec<u64> {
        match dtype {
            DType::F32 => {
                let mut out = vec![0u64; N];
                for (i, x) in v.iter().enumerate() {
                    out[i / 2] |= ((*x as f32).to_bits() as u64) << (32 * (i % 2));
                }
                out
            }
            _ => v.iter().map(|x| x.to_bits()).collect(),
        }
    };
    let mut dst = vec![0u64; N];
    println!(
        "{:24}{}",
        "ns an element",
        sets.iter().map(|s| format!("{:>10} f64{:>7} f32", s.name(), "")).collect::<String>()
    );
    let mut row = |name: String, find: &dyn Fn(Isa, DType) -> Option<Kernel>, x: &dyn Fn(&f64) -> f64| {
        if !name.to_lowercase().contains(&filter.to_lowercase()) {
            return;
        }
        let a: Vec<f64> = unit.iter().map(x).collect();
        let mut line = format!("{name:24}");
        for isa in &sets {
            for dtype in [DType::F64, DType::F32] {
                match find(*isa, dtype) {
                    Some(k) => {
                        line += &format!("{:14.3}", time(k, &mut dst, &pack(&a, dtype), &pack(&unit, dtype)));
                    }
                    None => line += &format!("{:>14}", "-"),
                }
            }
        }
        println!("{line}");
    };
    for op in UNARY {
        let inside = matches!(op, Unary::Arcsin | Unary::Arccos | Unary::Arctanh | Unary::Erfinv);
        let x: &dyn Fn(&f64) -> f64 = if inside { &|x| *x } else { &over };
        row(format!("{op:?}"), &|isa, dtype| math::unary(isa, op, dtype), x);
    }
    for op in BINARY {
        row(format!("{op:?}"), &|isa, dtype| math::binary(isa, op, dtype), &over);
    }
}

//! Every f32 through the kernels of every instruction set, against libm in f64: the worst error in ulp, and where.
//! `cargo run --release -p mlgrad-math --example exhaustive [-- [isa] [function] [step=17]]`: some minutes a function; with a
//! step only every so-many-th number.
//!
//! A nan must be a nan. An infinity counts as the number that would follow the largest one, as does what is beyond it.
#![allow(unsafe_code)]

use mlgrad_math::ops::Unary;
use mlgrad_math::{self as math, DType};

type Oracle = fn(f64) -> f64;

fn expit(x: f64) -> f64 {
    let e = libm::exp(-x.abs());
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

fn log_expit(x: f64) -> f64 {
    x.min(0.0) - libm::log1p(libm::exp(-x.abs()))
}

/// libm's own gives numbers for some negative arguments.
fn acosh(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

#[rustfmt::skip]
const FUNCTIONS: [(Unary, Oracle, f64); 25] = {
    use Unary::*;
    [
        (Sqrt, libm::sqrt, 0.5), (Cbrt, libm::cbrt, 1.0), (Exp, libm::exp, 1.0), (Exp2, libm::exp2, 1.0),
        (Expm1, libm::expm1, 1.0), (Log, libm::log, 1.0), (Log2, libm::log2, 1.0), (Log10, libm::log10, 1.0),
        (Log1p, libm::log1p, 1.0), (Sin, libm::sin, 1.0), (Cos, libm::cos, 1.0), (Tan, libm::tan, 2.0),
        (Arcsin, libm::asin, 2.0), (Arccos, libm::acos, 2.0), (Arctan, libm::atan, 2.0), (Sinh, libm::sinh, 2.0),
        (Cosh, libm::cosh, 2.0), (Tanh, libm::tanh, 1.0), (Arcsinh, libm::asinh, 2.0), (Arccosh, acosh, 2.0),
        (Arctanh, libm::atanh, 2.0), (Erf, libm::erf, 1.0), (Erfc, libm::erfc, 2.0), (Expit, expit, 1.0),
        (LogExpit, log_expit, 2.0),
    ]
};

/// By how many units in the last place of an f32 `got` is off.
fn error(got: f32, exact: f64) -> f64 {
    if exact.is_nan() || got.is_nan() {
        return if exact.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let beyond = 2f64.powi(128);
    let (got, exact) = ((got as f64).clamp(-beyond, beyond), exact.clamp(-beyond, beyond));
    let exponent = if exact == 0.0 { -149 } else { (libm::frexp(exact).1 - 24).clamp(-149, 104) };
    (got - exact).abs() / 2f64.powi(exponent)
}

fn main() {
    let (mut sets, mut filter, mut step) = (math::available(), None, 1_u32);
    for arg in std::env::args().skip(1) {
        if let Some(n) = arg.strip_prefix("step=") {
            step = n.parse::<u32>().ok().filter(|n| *n > 0).expect("step=N with N from 1");
        } else if let Some(isa) = math::available().into_iter().find(|i| i.name() == arg) {
            sets = vec![isa];
        } else {
            filter = Some(arg);
        }
    }
    const CHUNK: usize = 1 << 14;
    let (mut x, mut exact) = (vec![0.0_f32; CHUNK + 16], vec![0.0_f64; CHUNK]);
    let mut got = vec![0.0_f32; CHUNK + 16];
    let mut failed = false;
    for (op, oracle, bound) in FUNCTIONS {
        if filter.as_ref().is_some_and(|f| !format!("{op:?}").eq_ignore_ascii_case(f)) {
            continue;
        }
        let kernels: Vec<_> = sets.iter().map(|i| math::unary(*i, op, DType::F32).expect("a kernel")).collect();
        let mut worst = vec![(0.0_f64, 0.0_f32); sets.len()];
        let mut every = (0..=u32::MAX).step_by(step as usize);
        loop {
            let mut n = 0;
            for bits in every.by_ref().take(CHUNK) {
                x[n] = f32::from_bits(bits);
                exact[n] = oracle(x[n] as f64);
                n += 1;
            }
            if n == 0 {
                break;
            }
            for (kernel, worst) in kernels.iter().zip(&mut worst) {
                // SAFETY: both have n elements and 64 bytes more.
                unsafe { kernel(n, got.as_mut_ptr().cast(), x.as_ptr().cast(), x.as_ptr().cast(), std::ptr::null()) };
                for i in 0..n {
                    // most are right to the last bit but for rounding
                    let e = error(got[i], exact[i]);
                    if e > worst.0 {
                        *worst = (e, x[i]);
                    }
                }
            }
        }
        for (isa, (e, at)) in sets.iter().zip(worst) {
            // the oracle itself is good to 2^-27 of these units
            let verdict = if e <= bound + 1e-6 { "" } else { "  BEYOND THE BOUND" };
            failed |= e > bound + 1e-6;
            println!("{op:?} {}: {e:.4} ulp at {at:e}{verdict}", isa.name());
        }
    }
    if failed {
        std::process::exit(1);
    }
}

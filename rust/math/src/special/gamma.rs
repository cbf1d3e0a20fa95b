//! log |Γ| and its first two derivatives.

use super::coefficients::{DIGAMMA, DIGAMMA_TAIL, GAMMALN, GAMMALN_TAIL, TRIGAMMA, TRIGAMMA_TAIL};
use super::{evaluate, horner, row};
use std::f64::consts::PI;

/// (log 2π - 1) / 2.
const STIRLING: f64 = 0.4189385332046727;

/// The signed distance to the nearest integer.
#[inline(always)]
fn off_integer(x: f64) -> f64 {
    x - x.round_ties_even()
}

/// log |Γ(x)|; infinite at the poles. At -∞ it is -∞, as in SciPy.
#[inline]
pub fn gammaln(x: f64) -> f64 {
    if x >= 8.0 {
        let r = 1.0 / x;
        (x - 0.5) * (x.ln() - 1.0) + (STIRLING + r * horner(&GAMMALN_TAIL, r * r))
    } else if x >= 0.5 {
        let row = row(&GAMMALN, 0.5, x);
        evaluate(row, x - row[0])
    } else if x > -0.5 {
        // log |Γ(x)| = log Γ(1 + x) - log |x|, the argument taken without rounding 1 + x.
        let row = row(&GAMMALN, 0.5, 1.0 + x);
        evaluate(row, x - (row[0] - 1.0)) - x.abs().ln()
    } else if x.is_nan() || x == f64::NEG_INFINITY {
        x
    } else {
        let r = off_integer(x);
        if r == 0.0 { f64::INFINITY } else { (PI / (x * (PI * r).sin()).abs()).ln() - gammaln(-x) }
    }
}

/// ψ, the derivative of log Γ. As in SciPy ψ(±0) = ∓∞ and the other poles give nan.
#[inline]
pub fn digamma(x: f64) -> f64 {
    if x >= 8.0 {
        let r = 1.0 / x;
        let u = r * r;
        x.ln() - (0.5 * r + u * horner(&DIGAMMA_TAIL, u))
    } else if x >= 1.0 {
        let row = row(&DIGAMMA, 1.0, x);
        evaluate(row, (x - row[0]) - row[1])
    } else if x > 0.0 {
        let row = row(&DIGAMMA, 1.0, 1.0 + x);
        evaluate(row, (x - (row[0] - 1.0)) - row[1]) - 1.0 / x
    } else if x == 0.0 {
        -1.0 / x
    } else if x.is_nan() {
        x
    } else {
        let r = off_integer(x);
        if r == 0.0 { f64::NAN } else { digamma(1.0 - x) - PI / (PI * r).tan() }
    }
}

/// ψ′; infinite at the poles.
#[inline]
pub fn trigamma(x: f64) -> f64 {
    if x >= 8.0 {
        let r = 1.0 / x;
        let u = r * r;
        r + u * (0.5 + r * horner(&TRIGAMMA_TAIL, u))
    } else if x >= 1.0 {
        let row = row(&TRIGAMMA, 1.0, x);
        evaluate(row, x - row[0])
    } else if x >= 0.0 {
        let row = row(&TRIGAMMA, 1.0, 1.0 + x);
        let r = 1.0 / x;
        evaluate(row, x - (row[0] - 1.0)) + r * r
    } else if x.is_nan() {
        x
    } else {
        let r = off_integer(x);
        if r == 0.0 {
            return f64::INFINITY;
        }
        let s = PI / (PI * r).sin();
        s * s - trigamma(1.0 - x)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;

    /// Within some ulps, or within the absolute error that a value of size one would have (negative arguments: next to a
    /// zero the reflection cancels).
    fn close(x: f64, got: f64, want: f64, ulps: f64) {
        let unit = if x > 0.0 { want.abs() } else { want.abs().max(1.0) };
        let bound = ulps * unit * f64::EPSILON;
        assert!(
            (got - want).abs() <= bound,
            "at {x:e}: {got:e}, not {want:e}, {} eps",
            (got - want) / unit / f64::EPSILON
        );
    }

    #[test]
    fn against_sixty_digits() {
        for (x, want) in reference::GAMMALN {
            close(x, gammaln(x), want, if x > 0.0 { 2.0 } else { 4.0 });
        }
        for (x, want) in reference::DIGAMMA {
            close(x, digamma(x), want, if x > 0.0 { 2.0 } else { 6.0 });
        }
        for (x, want) in reference::TRIGAMMA {
            close(x, trigamma(x), want, if x > 0.0 { 2.0 } else { 6.0 });
        }
    }

    #[test]
    fn poles_and_ends() {
        for x in [0.0, -0.0, -1.0, -2.0, -1e300, f64::INFINITY] {
            assert_eq!(gammaln(x), f64::INFINITY, "{x}");
        }
        assert_eq!(gammaln(1.0), 0.0);
        assert_eq!(gammaln(2.0), 0.0);
        assert_eq!(gammaln(f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(digamma(0.0), f64::NEG_INFINITY);
        assert_eq!(digamma(-0.0), f64::INFINITY);
        assert_eq!(digamma(f64::INFINITY), f64::INFINITY);
        for x in [-1.0, -7.0, f64::NEG_INFINITY, f64::NAN] {
            assert!(digamma(x).is_nan(), "{x}");
        }
        for x in [0.0, -0.0, -3.0] {
            assert_eq!(trigamma(x), f64::INFINITY, "{x}");
        }
        assert_eq!(trigamma(f64::INFINITY), 0.0);
        assert!(gammaln(f64::NAN).is_nan() && trigamma(f64::NAN).is_nan());
        assert_eq!(gammaln(f64::MAX), f64::INFINITY);
    }

    #[test]
    fn pieces_meet() {
        for k in 2..64 {
            let x = k as f64 / 8.0;
            for f in [gammaln, digamma, trigamma] {
                let (below, above) = (f(x.next_down()), f(x));
                assert!((below - above).abs() < 1e-14 * above.abs().max(1.0), "at {x}: {below}, {above}");
            }
        }
    }
}

//! The inverse error function.

use super::coefficients::{ERFINV_CENTRE, ERFINV_TAIL};
use super::{evaluate, horner, row};

/// √π / 2.
const SLOPE: f64 = 0.886_226_925_452_758;

/// The y with erf(y) = x; ±∞ at ±1, nan outside.
#[inline]
pub fn erfinv(x: f64) -> f64 {
    let m = x.abs();
    if m <= 0.5 {
        let u = x * x;
        x * (SLOPE + u * horner(&ERFINV_CENTRE, u))
    } else if m < 1.0 {
        // erfinv(1 - exp(-z²)) / z hardly changes with z.
        let z = (-(1.0 - m).ln()).sqrt();
        let row = row(&ERFINV_TAIL, 0.75, z);
        (z * evaluate(row, z - row[0])).copysign(x)
    } else if m == 1.0 {
        f64::INFINITY.copysign(x)
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;

    #[test]
    fn against_sixty_digits() {
        for (x, want) in reference::ERFINV {
            let got = erfinv(x);
            assert!((got - want).abs() <= 2.0 * f64::EPSILON * want.abs(), "at {x:e}: {got:e}, not {want:e}");
        }
    }

    #[test]
    fn ends() {
        assert_eq!(erfinv(1.0), f64::INFINITY);
        assert_eq!(erfinv(-1.0), f64::NEG_INFINITY);
        assert_eq!(erfinv(-0.0).to_bits(), (-0.0f64).to_bits());
        for x in [1.0f64.next_up(), -2.0, f64::NAN, f64::INFINITY] {
            assert!(erfinv(x).is_nan());
        }
        assert_eq!(erfinv(5e-324), 5e-324 * SLOPE);
    }
}

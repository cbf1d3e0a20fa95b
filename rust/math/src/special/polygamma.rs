//! The higher derivatives of ψ.

use super::trigamma;

/// B(2j) / (2j)! for j = 1 … 12: the coefficients of the Euler–Maclaurin formula.
#[rustfmt::skip]
const BERNOULLI: [f64; 12] = [
    1.0 / 12.0,
    -1.0 / 720.0,
    1.0 / 30240.0,
    -1.0 / 1_209_600.0,
    1.0 / 47_900_160.0,
    -691.0 / 1_307_674_368_000.0,
    1.0 / 74_724_249_600.0,
    -3617.0 / 10_670_622_842_880_000.0,
    43867.0 / 5_109_094_217_170_944_000.0,
    -174_611.0 / 802_857_662_698_291_200_000.0,
    77_683.0 / 14_101_100_039_391_805_440_000.0,
    -236_364_091.0 / 1_693_824_136_731_743_669_452_800_000.0,
];

/// ψ⁽ⁿ⁾(x) = (-1)ⁿ⁺¹ n! Σ 1 / (x + k)ⁿ⁺¹ over k ≥ 0, for n ≥ 1 and any x. The poles give the infinity of that sum as SciPy
/// has it, (-1)ⁿ⁺¹ ∞.
pub fn polygamma(n: u8, x: f64) -> f64 {
    if n == 1 {
        return trigamma(x);
    }
    let odd = n % 2 == 1;
    let sum = if x > 0.0 {
        zeta(n, x)
    } else if x == x.floor() {
        // Zero and the negative integers; -∞ is no number's neighbour.
        if x == f64::NEG_INFINITY { f64::NAN } else { f64::INFINITY }
    } else {
        // The terms with a negative base, seen from zero downwards: a finite sum as the difference of two infinite ones.
        let (above, below) = (x - x.floor(), x.ceil() - x);
        let (upwards, mut downwards) = (zeta(n, above), zeta(n, below));
        if downwards.is_finite() {
            downwards -= zeta(n, 1.0 - x);
        }
        if odd {
            upwards + downwards
        } else if upwards.is_infinite() && downwards.is_infinite() {
            // The nearer pole outweighs the other one.
            (below - above) * f64::INFINITY
        } else {
            upwards - downwards
        }
    };
    if odd { sum } else { -sum }
}

/// n! ζ(n + 1, x) for x > 0, by the first terms and the Euler–Maclaurin formula.
fn zeta(n: u8, x: f64) -> f64 {
    if x == f64::INFINITY {
        return 0.0;
    }
    let s = n as i32 + 1;
    // n! / x^s is the scale of everything: neither n! nor x^s alone need be representable.
    let scale = (1..=n).fold(1.0 / x, |scale, k| scale * (k as f64 / x));
    if scale.is_infinite() {
        return scale;
    }
    let mut sum = 1.0;
    for k in 1..10 {
        let term = (x / (x + k as f64)).powi(s);
        sum += term;
        if term < f64::EPSILON * 1e-2 * sum {
            return scale * sum;
        }
    }
    let a = x + 10.0;
    let s = s as f64;
    let mut tail = a / (s - 1.0) + 0.5;
    let mut factor = s / a;
    for (j, b) in BERNOULLI.iter().enumerate() {
        tail += b * factor;
        let k = s + 2.0 * j as f64;
        factor *= (k + 1.0) / a * ((k + 2.0) / a);
    }
    scale * (sum + (x / a).powi(s as i32) * tail)
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;

    #[test]
    fn against_sixty_digits() {
        let tables = [
            (2, &reference::POLYGAMMA_2),
            (3, &reference::POLYGAMMA_3),
            (8, &reference::POLYGAMMA_8),
            (30, &reference::POLYGAMMA_30),
        ];
        for (n, table) in tables {
            for (x, want) in *table {
                // Rounding in each of n factors; for negative x the terms next to the two nearest poles may cancel.
                let nearest: f64 = (1..=n).map(f64::from).product::<f64>() / (x - x.round()).abs().powi(n as i32 + 1);
                let unit = if x < 0.0 { want.abs().max(nearest) } else { want.abs() };
                let got = polygamma(n, x);
                assert!(
                    (got - want).abs() <= (8 + n) as f64 * f64::EPSILON * unit,
                    "ψ({n}) at {x}: {got:e}, not {want:e}"
                );
            }
        }
    }

    #[test]
    fn poles_ends_and_high_orders() {
        assert_eq!(polygamma(2, 0.0), f64::NEG_INFINITY);
        assert_eq!(polygamma(3, 0.0), f64::INFINITY);
        assert_eq!(polygamma(2, -1.0), f64::NEG_INFINITY);
        assert_eq!(polygamma(3, f64::INFINITY), 0.0);
        assert!(polygamma(2, f64::NEG_INFINITY).is_nan() && polygamma(2, f64::NAN).is_nan());
        // The recurrence ψ(x + 1) - ψ(x) = (-1)^n n! / x^(n+1), where n! itself overflows.
        let (n, x) = (200u8, 75.0);
        let step = (1..=n).fold(1.0 / x, |p, k| p * (k as f64 / x));
        let difference = polygamma(n, x + 1.0) - polygamma(n, x);
        assert!((difference / step - 1.0).abs() < 1e-12);
        assert!(polygamma(255, 1000.0) > 0.0);
        // Where both neighbouring terms overflow, the nearer pole decides.
        assert_eq!(polygamma(254, -1.3), f64::INFINITY);
        assert_eq!(polygamma(254, -1.7), f64::NEG_INFINITY);
        assert_eq!(polygamma(255, -1.3), f64::INFINITY);
    }
}

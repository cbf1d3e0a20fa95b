//! Where the quantiles of a sample lie: the nine methods of Hyndman and Fan (Sample Quantiles in Statistical Packages, The American
//! Statistician 50, 1996) and NumPy's four others, by NumPy's formulas.

/// How a quantile is taken from the sorted elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    InvertedCdf,
    AveragedInvertedCdf,
    ClosestObservation,
    InterpolatedInvertedCdf,
    Hazen,
    Weibull,
    Linear,
    MedianUnbiased,
    NormalUnbiased,
    Lower,
    Higher,
    Midpoint,
    Nearest,
}

use Method::*;

impl Method {
    /// All of them, by NumPy's names.
    pub const ALL: [(&'static str, Method); 13] = [
        ("inverted_cdf", InvertedCdf),
        ("averaged_inverted_cdf", AveragedInvertedCdf),
        ("closest_observation", ClosestObservation),
        ("interpolated_inverted_cdf", InterpolatedInvertedCdf),
        ("hazen", Hazen),
        ("weibull", Weibull),
        ("linear", Linear),
        ("median_unbiased", MedianUnbiased),
        ("normal_unbiased", NormalUnbiased),
        ("lower", Lower),
        ("higher", Higher),
        ("midpoint", Midpoint),
        ("nearest", Nearest),
    ];

    pub fn by_name(name: &str) -> Option<Method> {
        Method::ALL.iter().find(|(own, _)| *own == name).map(|(_, method)| *method)
    }

    /// Whether the result lies between elements; otherwise it is one of them, in their dtype.
    pub fn interpolates(self) -> bool {
        !matches!(self, InvertedCdf | ClosestObservation | Lower | Higher | Nearest)
    }

    /// The two elements of `n > 0` sorted ones between which the quantile `q` lies, and which part of the way it is.
    pub fn place(self, n: usize, q: f64) -> (usize, usize, f64) {
        let (count, last) = (n as f64, (n - 1) as f64);
        // Hyndman and Fan's family of two parameters
        let family = |alpha: f64, beta: f64| count * q + (alpha + q * (1.0 - alpha - beta)) - 1.0;
        // the element at a place, or else the one above it
        let step = |place: f64, at: fn(f64) -> bool| {
            let low = place.floor();
            if place == low && at(low) { low } else { low + 1.0 }
        };
        let place = match self {
            Linear => last * q,
            Lower => (last * q).floor(),
            Higher => (last * q).ceil(),
            Nearest => (last * q).round_ties_even(),
            Midpoint => 0.5 * ((last * q).floor() + (last * q).ceil()),
            InvertedCdf => step(count * q - 1.0, |_| true),
            AveragedInvertedCdf => count * q - 1.0,
            ClosestObservation => step(count * q - 1.5, |low| low.rem_euclid(2.0) == 1.0),
            InterpolatedInvertedCdf => family(0.0, 1.0),
            Hazen => family(0.5, 0.5),
            Weibull => family(0.0, 0.0),
            MedianUnbiased => family(1.0 / 3.0, 1.0 / 3.0),
            NormalUnbiased => family(3.0 / 8.0, 3.0 / 8.0),
        };
        if place < 0.0 {
            return (0, 0, 0.0);
        }
        if place >= last {
            return (n - 1, n - 1, 0.0);
        }
        let low = place.floor();
        let part = place - low;
        let share = match self {
            AveragedInvertedCdf if part == 0.0 => 0.5,
            AveragedInvertedCdf => 1.0,
            Midpoint if part == 0.0 => 0.0,
            Midpoint => 0.5,
            _ => part,
        };
        (low as usize, low as usize + 1, share)
    }
}

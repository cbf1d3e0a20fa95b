//! The instruction sets, and the one in use.

use std::sync::OnceLock;

/// An instruction set with kernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Whatever the target guarantees; the compiler's own vectors.
    Scalar,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, DQ, BW and VL.
    Avx512,
    /// AArch64 Advanced SIMD.
    Neon,
}

impl Isa {
    /// The name that the environment variable `MLGRAD_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }
}

/// The instruction sets that this machine has, the best one last.
pub fn available() -> Vec<Isa> {
    let mut found = vec![Isa::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push(Isa::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                found.push(Isa::Avx512);
            }
        }
    }
    #[cfg(target_arch = "aarch64")]
    found.push(Isa::Neon);
    found
}

/// The instruction set in use: the best one, or the one that `MLGRAD_ISA` names. Decided once.
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| choose(std::env::var("MLGRAD_ISA").ok().as_deref()))
}

fn choose(wanted: Option<&str>) -> Isa {
    let found = available();
    let best = found.last().copied().unwrap_or(Isa::Scalar);
    let Some(wanted) = wanted.map(str::trim).filter(|w| !w.is_empty()) else {
        return best;
    };
    if let Some(isa) = found.iter().find(|i| i.name().eq_ignore_ascii_case(wanted)) {
        return *isa;
    }
    let names: Vec<_> = found.iter().map(|i| i.name()).collect();
    eprintln!(
        "mlgrad: MLGRAD_ISA={wanted} is not available here (one of: {}); using {}",
        names.join(", "),
        best.name()
    );
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_forces_what_is_available_and_nothing_else() {
        let best = *available().last().unwrap();
        assert_eq!(choose(None), best);
        assert_eq!(choose(Some("")), best);
        assert_eq!(choose(Some("Scalar")), Isa::Scalar);
        assert_eq!(choose(Some("sse9")), best);
        for isa in available() {
            assert_eq!(choose(Some(isa.name())), isa);
        }
    }
}

//! Block reductions of floats in explicit vectors. Left to itself the compiler lays out the lanes for the last steps of the
//! tree, in its narrowest vectors. The order is the one of the parent module, to the bit.

use super::{Fold, LANE_BYTES, Max, Min, Prod, ReduceKernel, SHORT, Sum, short};
use crate::Isa;
use crate::dtype::DType;
use crate::ops::ReduceOp;
use crate::simd::{Element, Simd, avx2, avx512};

/// The kernel of a float reduction for AVX2 or AVX-512.
pub(super) fn block(isa: Isa, op: ReduceOp, dtype: DType) -> Option<ReduceKernel> {
    macro_rules! choose {
        ($f:ty) => {
            match (isa, dtype) {
                (Isa::Avx512, DType::F64) => avx512_f64::<$f>,
                (Isa::Avx512, DType::F32) => avx512_f32::<$f>,
                (Isa::Avx2, DType::F64) => avx2_f64::<$f>,
                (Isa::Avx2, DType::F32) => avx2_f32::<$f>,
                _ => return None,
            }
        };
    }
    Some(match op {
        ReduceOp::Sum => choose!(Sum),
        ReduceOp::Prod => choose!(Prod),
        ReduceOp::Max => choose!(Max),
        ReduceOp::Min => choose!(Min),
        ReduceOp::Any | ReduceOp::All => return None,
    })
}

/// [`Fold`] on whole vectors.
trait VectorFold {
    /// Whether the join loses a nan, so that nans are looked for by themselves: cheaper than keeping them in the chain.
    const LOSES_NAN: bool;
    fn join<V: Simd>(a: V, b: V) -> V;
}

macro_rules! vector_folds {
    ($($name:ty, $loses:literal: |$a:ident, $b:ident| $join:expr;)*) => {$(
        impl VectorFold for $name {
            const LOSES_NAN: bool = $loses;
            #[inline(always)]
            fn join<V: Simd>($a: V, $b: V) -> V {
                $join
            }
        }
    )*};
}

vector_folds! {
    Sum, false: |a, b| a + b;
    Prod, false: |a, b| a * b;
    Max, true: |a, b| b.max(a);
    Min, true: |a, b| b.min(a);
}

/// # Safety
/// As [`ReduceKernel`]; besides, it has to be inlined into a function with the features of V. K vectors are LANE_BYTES.
#[inline(always)]
unsafe fn fold<V: Simd, F: Fold<V::Elem> + VectorFold, const K: usize>(n: usize, acc: *mut u8, src: *const u8) {
    const { assert!(K * V::LANES * size_of::<V::Elem>() == LANE_BYTES) };
    let item = size_of::<V::Elem>();
    if n <= SHORT {
        // SAFETY: the caller's promise.
        return unsafe { short::<F, V::Elem>(n, acc.cast(), src.cast()) };
    }
    let mut lanes = [V::splat(F::IDENTITY); K];
    let mut nan = lanes[0].is_nan();
    let mut step = |lane: &mut V, x: V| {
        if F::LOSES_NAN {
            nan = V::or(nan, x.is_nan());
        }
        *lane = <F as VectorFold>::join(*lane, x);
    };
    let mut i = 0;
    // SAFETY: whole vectors are read only where they lie below n.
    unsafe {
        while i + K * V::LANES <= n {
            for (v, lane) in lanes.iter_mut().enumerate() {
                step(lane, V::load(src.add((i + v * V::LANES) * item)));
            }
            i += K * V::LANES;
        }
        for lane in lanes.iter_mut() {
            if i + V::LANES <= n {
                step(lane, V::load(src.add(i * item)));
            } else if i < n {
                let mut rest = [F::IDENTITY; 16];
                std::ptr::copy_nonoverlapping(src.add(i * item), rest.as_mut_ptr().cast(), (n - i) * item);
                step(lane, V::load(rest.as_ptr().cast()));
                break;
            }
            i += V::LANES;
        }
    }
    let mut width = K / 2;
    while width > 0 {
        for k in 0..width {
            lanes[k] = <F as VectorFold>::join(lanes[k], lanes[k + width]);
        }
        width /= 2;
    }
    let mut last = [F::IDENTITY; 16];
    // SAFETY: a vector has at most 16 lanes; acc is one element.
    unsafe {
        lanes[0].store(last.as_mut_ptr().cast());
        let mut width = V::LANES / 2;
        while width > 0 {
            for k in 0..width {
                last[k] = <F as Fold<V::Elem>>::join(last[k], last[k + width]);
            }
            width /= 2;
        }
        let total = if F::LOSES_NAN && V::any(nan) { V::Elem::from_f64(f64::NAN) } else { last[0] };
        let acc = acc.cast::<V::Elem>();
        acc.write_unaligned(<F as Fold<V::Elem>>::join(acc.read_unaligned(), total));
    }
}

macro_rules! kernels {
    ($($name:ident, $features:literal, $vector:ty, $elem:ty, $k:literal;)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name<F: Fold<$elem> + VectorFold>(n: usize, acc: *mut u8, src: *const u8) {
            // SAFETY: the caller's promise; the features are those of the vectors.
            unsafe { fold::<$vector, F, $k>(n, acc, src) }
        }
    )*};
}

kernels! {
    avx512_f64, "avx512f,avx512dq,avx512bw,avx512vl", avx512::F64x8, f64, 4;
    avx512_f32, "avx512f,avx512dq,avx512bw,avx512vl", avx512::F32x16, f32, 4;
    avx2_f64, "avx2,fma", avx2::F64x4, f64, 8;
    avx2_f32, "avx2,fma", avx2::F32x8, f32, 8;
}

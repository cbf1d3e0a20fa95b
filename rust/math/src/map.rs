//! Elementwise loops that the compiler turns into vectors, instantiated once per instruction set.
//!
//! A loop works on chunks of 64 bytes of its widest operand: a chunk is loaded whole, computed, stored whole. So there is no
//! tail, and `dst` may be an operand (a plain loop would need a run-time overlap check, and fall to scalar code in place).

use super::{Isa, Kernel};

/// An operation of one argument.
pub(super) trait Map1<A> {
    type R: Copy + Default;
    fn apply(a: A) -> Self::R;
}

/// An operation of two arguments of one type.
pub(super) trait Map2<A> {
    type R: Copy + Default;
    fn apply(a: A, b: A) -> Self::R;
}

/// An operation of three arguments, the first a mask.
pub(super) trait Map3<M, A> {
    type R: Copy + Default;
    fn apply(m: M, a: A, b: A) -> Self::R;
}

// SAFETY (all three loops): the caller promises that every pointer is valid up to 64-byte granularity, and L elements of
// the widest operand are 64 bytes, so a chunk that starts below n lies inside. Any bit pattern is a value of the element
// types (bool bytes are u8 here). A chunk is read before it is written, so `dst` may be an operand.

#[inline(always)]
unsafe fn loop1<O: Map1<A>, A: Copy, const L: usize>(n: usize, dst: *mut u8, a: *const u8) {
    let (dst, a) = (dst.cast::<O::R>(), a.cast::<A>());
    let mut i = 0;
    while i < n {
        // SAFETY: see above.
        unsafe {
            let x = a.add(i).cast::<[A; L]>().read_unaligned();
            let mut y = [O::R::default(); L];
            for k in 0..L {
                y[k] = O::apply(x[k]);
            }
            dst.add(i).cast::<[O::R; L]>().write_unaligned(y);
        }
        i += L;
    }
}

#[inline(always)]
unsafe fn loop2<O: Map2<A>, A: Copy, const L: usize>(n: usize, dst: *mut u8, a: *const u8, b: *const u8) {
    let (dst, a, b) = (dst.cast::<O::R>(), a.cast::<A>(), b.cast::<A>());
    let mut i = 0;
    while i < n {
        // SAFETY: see above.
        unsafe {
            let x = a.add(i).cast::<[A; L]>().read_unaligned();
            let y = b.add(i).cast::<[A; L]>().read_unaligned();
            let mut z = [O::R::default(); L];
            for k in 0..L {
                z[k] = O::apply(x[k], y[k]);
            }
            dst.add(i).cast::<[O::R; L]>().write_unaligned(z);
        }
        i += L;
    }
}

#[inline(always)]
unsafe fn loop3<O: Map3<M, A>, M: Copy, A: Copy, const L: usize>(
    n: usize,
    dst: *mut u8,
    m: *const u8,
    a: *const u8,
    b: *const u8,
) {
    let (dst, m, a, b) = (dst.cast::<O::R>(), m.cast::<M>(), a.cast::<A>(), b.cast::<A>());
    let mut i = 0;
    while i < n {
        // SAFETY: see above.
        unsafe {
            let t = m.add(i).cast::<[M; L]>().read_unaligned();
            let x = a.add(i).cast::<[A; L]>().read_unaligned();
            let y = b.add(i).cast::<[A; L]>().read_unaligned();
            let mut z = [O::R::default(); L];
            for k in 0..L {
                z[k] = O::apply(t[k], x[k], y[k]);
            }
            dst.add(i).cast::<[O::R; L]>().write_unaligned(z);
        }
        i += L;
    }
}

/// The three instantiations of a loop, and the choice between them.
macro_rules! instantiate {
    ($choose:ident, [$($generics:tt)*], [$($args:ident),*], $loop:ident, |$n:ident, $d:ident, $a:ident, $b:ident, $c:ident| $($pass:ident),*) => {
        pub(super) fn $choose<$($generics)*, const L: usize>(isa: Isa) -> Kernel {
            unsafe fn plain<$($generics)*, const L: usize>($n: usize, $d: *mut u8, $a: *const u8, $b: *const u8, $c: *const u8) {
                // SAFETY: the promises of `Kernel`.
                unsafe { $loop::<$($args),*, L>($($pass),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2<$($generics)*, const L: usize>($n: usize, $d: *mut u8, $a: *const u8, $b: *const u8, $c: *const u8) {
                // SAFETY: the promises of `Kernel`.
                unsafe { $loop::<$($args),*, L>($($pass),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
            unsafe fn avx512<$($generics)*, const L: usize>($n: usize, $d: *mut u8, $a: *const u8, $b: *const u8, $c: *const u8) {
                // SAFETY: the promises of `Kernel`.
                unsafe { $loop::<$($args),*, L>($($pass),*) }
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512::<$($args),*, L>,
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::<$($args),*, L>,
                _ => plain::<$($args),*, L>,
            }
        }
    };
}

instantiate!(map1, [O: Map1<A>, A: Copy], [O, A], loop1, |n, dst, a, _b, _c| n, dst, a);
instantiate!(map2, [O: Map2<A>, A: Copy], [O, A], loop2, |n, dst, a, b, _c| n, dst, a, b);
instantiate!(map3, [O: Map3<M, A>, M: Copy, A: Copy], [O, M, A], loop3, |n, dst, m, a, b| n, dst, m, a, b);

#[cfg(test)]
pub(super) mod testing {
    //! Running a kernel on plain slices, padded as the kernels demand.
    use super::*;

    fn padded<T: Copy + Default>(x: &[T], n: usize) -> Vec<T> {
        let mut x = x.to_vec();
        x.resize((n + 64).next_multiple_of(64), T::default());
        x
    }

    /// The kernel's result on n elements of up to three operands.
    pub fn run<R: Copy + Default, A: Copy + Default, B: Copy + Default, C: Copy + Default>(
        kernel: Kernel,
        n: usize,
        a: &[A],
        b: &[B],
        c: &[C],
    ) -> Vec<R> {
        let (a, b, c) = (padded(a, n), padded(b, n), padded(c, n));
        let mut dst = padded::<R>(&[], n);
        // SAFETY: every buffer has n elements and 64 more.
        unsafe { kernel(n, dst.as_mut_ptr().cast(), a.as_ptr().cast(), b.as_ptr().cast(), c.as_ptr().cast()) };
        dst.truncate(n);
        dst
    }

    pub fn run1<R: Copy + Default, A: Copy + Default>(kernel: Kernel, a: &[A]) -> Vec<R> {
        run(kernel, a.len(), a, &[0u8], &[0u8])
    }

    pub fn run2<R: Copy + Default, A: Copy + Default>(kernel: Kernel, a: &[A], b: &[A]) -> Vec<R> {
        run(kernel, a.len(), a, b, &[0u8])
    }

    /// All pairs of two lists, as two columns.
    pub fn pairs<A: Copy>(a: &[A], b: &[A]) -> (Vec<A>, Vec<A>) {
        a.iter().flat_map(|x| b.iter().map(move |y| (*x, *y))).unzip()
    }

    #[test]
    fn a_kernel_may_write_over_its_operand() {
        for isa in super::super::available() {
            let add = super::super::integer::binary_on(isa, crate::ops::Binary::Add, crate::dtype::DType::I64).unwrap();
            let mut x: Vec<i64> = (0..200).collect();
            // SAFETY: 200 elements are a multiple of 64 bytes.
            unsafe { add(200, x.as_mut_ptr().cast(), x.as_ptr().cast(), x.as_ptr().cast(), std::ptr::null()) };
            assert_eq!(x, (0..200).map(|i| 2 * i).collect::<Vec<i64>>());
        }
    }
}

//! One lane at a time: what runs where no vector set is available, and under Miri.

use super::{Simd, Simd64};
use std::ops::{Add, Div, Mul, Neg, Sub};

macro_rules! scalar {
    ($name:ident, $elem:ty, $int:ty) => {
        #[derive(Clone, Copy)]
        pub struct $name($elem);

        scalar!(@op $name, Add, add, +);
        scalar!(@op $name, Sub, sub, -);
        scalar!(@op $name, Mul, mul, *);
        scalar!(@op $name, Div, div, /);

        impl Neg for $name {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                $name(-self.0)
            }
        }

        impl Simd for $name {
            type Elem = $elem;
            type Mask = bool;
            type Bits = $int;
            const LANES: usize = 1;

            #[inline(always)]
            unsafe fn load(p: *const u8) -> Self {
                // SAFETY: the caller's promise.
                $name(unsafe { p.cast::<$elem>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut u8) {
                // SAFETY: the caller's promise.
                unsafe { p.cast::<$elem>().write_unaligned(self.0) }
            }
            #[inline(always)]
            fn splat(x: $elem) -> Self {
                $name(x)
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                $name(self.0.mul_add(b.0, c.0))
            }
            #[inline(always)]
            fn mla(self, b: Self, c: Self) -> Self {
                $name(self.0 * b.0 + c.0)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $name(self.0.sqrt())
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $name(self.0.floor())
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                $name(self.0.ceil())
            }
            #[inline(always)]
            fn trunc(self) -> Self {
                $name(self.0.trunc())
            }
            #[inline(always)]
            fn rint(self) -> Self {
                $name(self.0.round_ties_even())
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                if self.0 < b.0 { self } else { b }
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                if self.0 > b.0 { self } else { b }
            }
            #[inline(always)]
            fn lt(self, b: Self) -> bool {
                self.0 < b.0
            }
            #[inline(always)]
            fn le(self, b: Self) -> bool {
                self.0 <= b.0
            }
            #[inline(always)]
            fn eq(self, b: Self) -> bool {
                self.0 == b.0
            }
            #[inline(always)]
            fn select(m: bool, yes: Self, no: Self) -> Self {
                if m { yes } else { no }
            }
            #[inline(always)]
            fn and(m: bool, n: bool) -> bool {
                m & n
            }
            #[inline(always)]
            fn or(m: bool, n: bool) -> bool {
                m | n
            }
            #[inline(always)]
            fn not(m: bool) -> bool {
                !m
            }
            #[inline(always)]
            fn any(m: bool) -> bool {
                m
            }
            #[inline(always)]
            unsafe fn store_mask(m: bool, p: *mut u8) {
                // SAFETY: the caller's promise.
                unsafe { p.write(m as u8) }
            }
            #[inline(always)]
            fn bits(self) -> $int {
                self.0.to_bits()
            }
            #[inline(always)]
            fn from_bits(b: $int) -> Self {
                $name(<$elem>::from_bits(b))
            }
            #[inline(always)]
            fn bits_splat(x: u64) -> $int {
                x as $int
            }
            #[inline(always)]
            fn bits_add(a: $int, b: $int) -> $int {
                a.wrapping_add(b)
            }
            #[inline(always)]
            fn bits_sub(a: $int, b: $int) -> $int {
                a.wrapping_sub(b)
            }
            #[inline(always)]
            fn bits_and(a: $int, b: $int) -> $int {
                a & b
            }
            #[inline(always)]
            fn bits_or(a: $int, b: $int) -> $int {
                a | b
            }
            #[inline(always)]
            fn bits_xor(a: $int, b: $int) -> $int {
                a ^ b
            }
            #[inline(always)]
            fn bits_shl(a: $int, n: u32) -> $int {
                a << n
            }
            #[inline(always)]
            fn bits_shr(a: $int, n: u32) -> $int {
                a >> n
            }
            #[inline(always)]
            fn top_bit(a: $int) -> bool {
                a >> (<$int>::BITS - 1) != 0
            }
            #[inline(always)]
            fn lookup(table: &'static [$elem; 16], index: $int) -> Self {
                $name(table[(index & 15) as usize])
            }
        }
    };
    (@op $name:ident, $trait:ident, $method:ident, $op:tt) => {
        impl $trait for $name {
            type Output = Self;
            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                $name(self.0 $op b.0)
            }
        }
    };
}

scalar!(F64x1, f64, u64);
scalar!(F32x1, f32, u32);

impl Simd64 for F64x1 {
    #[inline(always)]
    unsafe fn load_f32(p: *const u8) -> Self {
        // SAFETY: the caller's promise.
        F64x1(unsafe { p.cast::<f32>().read_unaligned() } as f64)
    }
    #[inline(always)]
    unsafe fn store_f32(self, p: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<f32>().write_unaligned(self.0 as f32) }
    }
}

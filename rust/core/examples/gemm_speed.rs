//! Matrix products beside a BLAS and beside what the registers can do, on square matrices:
//! `cargo run --release --example gemm_speed -- [f64|f32] [nn|nt|tn|tt] [threads=2] [blas=libscipy_openblas64_….so] [sizes …]`.
//!
//! The library is one with NumPy's names (`scipy_cblas_dgemm64_`); both sides take turns, and the best of the rounds counts.
#![allow(unsafe_code)]

use mlgrad_core::exec::gemm::{Mat, Real, Shape, gemm};
use mlgrad_core::exec::pool;
use std::ffi::{CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::time::Instant;

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// `cblas_?gemm` with 64-bit integers.
type Gemm<T> =
    unsafe extern "C" fn(c_int, c_int, c_int, i64, i64, i64, T, *const T, i64, *const T, i64, T, *mut T, i64);

struct Blas(*mut c_void);

impl Blas {
    fn load(path: &str) -> Option<Blas> {
        let path = CString::new(path).ok()?;
        // SAFETY: a library that initialises itself.
        let library = unsafe { dlopen(path.as_ptr(), 2) };
        (!library.is_null()).then_some(Blas(library))
    }

    fn find(&self, name: &str) -> *mut c_void {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: the library is open.
        let found = unsafe { dlsym(self.0, name.as_ptr()) };
        assert!(!found.is_null(), "the library has no {name:?}");
        found
    }

    fn set_threads(&self, n: usize) {
        // SAFETY: a function of one int.
        let set: unsafe extern "C" fn(c_int) =
            unsafe { std::mem::transmute(self.find("scipy_openblas_set_num_threads64_")) };
        // SAFETY: as above.
        unsafe { set(n as c_int) };
    }

    fn gemm<T>(&self, name: &str) -> Gemm<T> {
        // SAFETY: BLAS says what the function takes.
        unsafe { std::mem::transmute(self.find(name)) }
    }
}

/// Seconds of one call, the mean of so many.
fn seconds(calls: usize, f: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        f();
    }
    start.elapsed().as_secs_f64() / calls as f64
}

/// The best of both in turn.
fn race(ours: &mut dyn FnMut(), theirs: &mut dyn FnMut(), work: f64) -> (f64, f64) {
    let calls = (2e-3 / (work / 50e9)).clamp(1.0, 20_000.0) as usize;
    let rounds = (0.2 / (calls as f64 * work / 50e9)).clamp(3.0, 30.0) as usize;
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        best.0 = best.0.min(seconds(calls, ours));
        best.1 = best.1.min(seconds(calls, theirs));
    }
    best
}

fn table<T: Real>(name: &str, blas: Option<(&Blas, Gemm<T>)>, forms: &[&str], sizes: &[usize]) {
    for &n in sizes {
        for form in forms {
            let (left, right) = (form.starts_with('t'), form.ends_with('t'));
            let fill = |s: usize| (0..n * n).map(|i| T::from(((i * 7919 + s) % 17) as f32 - 8.0)).collect::<Vec<T>>();
            let (a, b, mut c, mut d) = (fill(1), fill(2), fill(3), fill(4));
            let strides = |t: bool| if t { (1, n as isize) } else { (n as isize, 1) };
            let (am, bm) = (
                Mat::new(a.as_ptr(), strides(left).0, strides(left).1),
                Mat::new(b.as_ptr(), strides(right).0, strides(right).1),
            );
            let mut ours = || {
                // SAFETY: n by n matrices.
                unsafe { gemm(Shape { m: n, n, k: n }, am, bm, black_box(c.as_mut_ptr()), false) }.expect("memory");
            };
            let mut theirs = || {
                if let Some((_, f)) = blas {
                    let (l, r) = (if left { 112 } else { 111 }, if right { 112 } else { 111 });
                    let (s, one, zero) = (n as i64, T::from(1.0), T::default());
                    // SAFETY: n by n matrices, row-major.
                    unsafe {
                        f(101, l, r, s, s, s, one, a.as_ptr(), s, b.as_ptr(), s, zero, black_box(d.as_mut_ptr()), s)
                    };
                }
            };
            let work = 2.0 * (n * n * n) as f64;
            let (x, y) = race(&mut ours, &mut theirs, work);
            println!(
                "{name} {form} {n:5}: {:7.1} GFLOP/s, BLAS {:7.1}, ratio {:.2}",
                work / x / 1e9,
                work / y / 1e9,
                y / x
            );
            if blas.is_some() {
                assert!(c == d, "different results");
            }
        }
    }
}

/// What independent multiply-adds on registers reach: GFLOP/s in f64.
#[cfg(target_arch = "x86_64")]
fn peak() -> f64 {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx512f")]
    fn spin(turns: usize) -> f64 {
        let x = _mm512_set1_pd(black_box(1.0));
        let mut sums = [_mm512_set1_pd(0.0); 8];
        for _ in 0..turns {
            sums = sums.map(|s| _mm512_fmadd_pd(x, s, x));
        }
        sums.iter().map(|s| _mm512_reduce_add_pd(*s)).sum()
    }
    if !is_x86_feature_detected!("avx512f") {
        return f64::NAN;
    }
    let turns = 1_000_000;
    let mut run = || {
        // SAFETY: the instructions are there.
        black_box(unsafe { spin(turns) });
    };
    let best = (0..10).map(|_| seconds(1, &mut run)).fold(f64::INFINITY, f64::min);
    (turns * 8 * 16) as f64 / best / 1e9
}

#[cfg(not(target_arch = "x86_64"))]
fn peak() -> f64 {
    f64::NAN
}

fn main() {
    let (mut forms, mut sizes, mut types, mut threads, mut blas) = (vec![], vec![], vec![], 1, None);
    let args: Vec<String> = std::env::args().skip(1).collect();
    for arg in &args {
        match arg.as_str() {
            "nn" | "nt" | "tn" | "tt" => forms.push(arg.as_str()),
            "f64" | "f32" => types.push(arg.as_str()),
            _ if arg.starts_with("threads=") => threads = arg[8..].parse().expect("threads=N"),
            _ if arg.starts_with("blas=") => blas = Some(Blas::load(&arg[5..]).expect("a library")),
            _ => sizes.push(arg.parse().expect("a size")),
        }
    }
    if forms.is_empty() {
        forms = vec!["nn", "nt", "tn", "tt"];
    }
    if types.is_empty() {
        types = vec!["f64", "f32"];
    }
    if sizes.is_empty() {
        sizes = vec![2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
    }
    pool::set_num_threads(threads);
    if let Some(blas) = &blas {
        blas.set_threads(threads);
    }
    println!("peak of multiply-adds on registers, one thread: {:.1} GFLOP/s in f64", peak());
    if types.contains(&"f64") {
        table::<f64>("f64", blas.as_ref().map(|b| (b, b.gemm("scipy_cblas_dgemm64_"))), &forms, &sizes);
    }
    if types.contains(&"f32") {
        table::<f32>("f32", blas.as_ref().map(|b| (b, b.gemm("scipy_cblas_sgemm64_"))), &forms, &sizes);
    }
}

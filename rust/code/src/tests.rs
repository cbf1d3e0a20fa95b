//! Code against the kernels: the same bits, for random passes.

use mlgrad_math::ops::{Binary, Unary};
use mlgrad_math::{DType, Isa, select};
use proptest::prelude::*;

use crate::{At, Module, Op, Pass, Span, Step, Store, has_code};

const UNARY: [Unary; 14] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Square,
    Unary::Reciprocal,
    Unary::Floor,
    Unary::Ceil,
    Unary::Trunc,
    Unary::Rint,
    Unary::Sqrt,
    Unary::IsNan,
    Unary::IsInf,
    Unary::IsFinite,
    Unary::Signbit,
    Unary::LogicalNot,
];
const BINARY: [Binary; 18] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Maximum,
    Binary::Minimum,
    Binary::Fmax,
    Binary::Fmin,
    Binary::Copysign,
    Binary::Less,
    Binary::LessEqual,
    Binary::Greater,
    Binary::GreaterEqual,
    Binary::Equal,
    Binary::NotEqual,
    Binary::LogicalAnd,
    Binary::LogicalOr,
    Binary::LogicalXor,
];

/// Elements of an array, padded to whole vectors of the widest kind.
fn room(n: usize) -> usize {
    n.next_multiple_of(64)
}

/// Values of either kind, as bytes.
#[derive(Clone)]
struct Value {
    bytes: Vec<u8>,
    is_mask: bool,
}

fn bits(dtype: DType, x: f64) -> u64 {
    match dtype {
        DType::F32 => u64::from((x as f32).to_bits()),
        _ => x.to_bits(),
    }
}

const NUMBERS: [f64; 12] =
    [0.0, -0.0, 1.0, -1.5, 2.5, 1e300, -3e-310, 0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 7.0];

/// What a step comes to with the kernels.
fn by_kernel(op: Op, dtype: DType, n: usize, args: &[&Value]) -> Value {
    let isa = Isa::Avx512;
    let of_masks = args[0].is_mask;
    let kernel = match op {
        Op::Unary(u) => mlgrad_math::unary(isa, u, if of_masks { DType::Bool } else { dtype }),
        Op::Binary(b) => mlgrad_math::binary(isa, b, if of_masks { DType::Bool } else { dtype }),
        Op::Select => Some(select::select_on(isa, dtype)),
        Op::Number => mlgrad_math::cast::cast(DType::Bool, dtype),
    };
    let is_mask = op.makes_mask();
    let size = if is_mask { 1 } else { dtype.size() };
    let mut out = vec![0u8; room(n) * size];
    let at = |k: usize| args.get(k).map_or(std::ptr::null(), |v| v.bytes.as_ptr());
    // SAFETY: every array is padded to whole vectors.
    unsafe { kernel.unwrap()(n, out.as_mut_ptr(), at(0), at(1), at(2)) };
    Value { bytes: out, is_mask }
}

fn equal(dtype: DType, n: usize, a: &[u8], b: &[u8], is_mask: bool) -> bool {
    if is_mask {
        return (0..n).all(|i| u8::from(a[i] != 0) == b[i]);
    }
    let nan = |x: &[u8]| match dtype {
        DType::F32 => f32::from_le_bytes(x.try_into().unwrap()).is_nan(),
        _ => f64::from_le_bytes(x.try_into().unwrap()).is_nan(),
    };
    let size = dtype.size();
    // which nan is nobody's business
    (0..n).all(|i| {
        let (x, y) = (&a[i * size..][..size], &b[i * size..][..size]);
        x == y || nan(x) && nan(y)
    })
}

fn call(address: usize, n: usize, table: *const *mut u8, first: usize) {
    // SAFETY: code of that convention, for arrays that are padded.
    unsafe {
        let f: unsafe extern "sysv64" fn(usize, *const *mut u8, usize) = std::mem::transmute(address);
        f(n, table, first);
    }
}

/// One operation with operands of the right kinds among those that are there.
fn choose(op: usize, operands: [usize; 3], values: &[Value]) -> Option<(Op, Vec<u32>)> {
    let pick = |k: usize, mask: bool| {
        let of_kind: Vec<u32> = (0..values.len() as u32).filter(|&v| values[v as usize].is_mask == mask).collect();
        (!of_kind.is_empty()).then(|| of_kind[operands[k] % of_kind.len()])
    };
    let op = match op {
        k if k < UNARY.len() => Op::Unary(UNARY[k]),
        k if k < UNARY.len() + BINARY.len() => Op::Binary(BINARY[k - UNARY.len()]),
        k if k % 2 == 0 => Op::Select,
        _ => Op::Number,
    };
    let kinds: &[bool] = match op {
        Op::Unary(Unary::LogicalNot) => &[true],
        Op::Unary(_) => &[false],
        Op::Binary(Binary::LogicalAnd | Binary::LogicalOr | Binary::LogicalXor) => &[true, true],
        Op::Binary(_) => &[false, false],
        Op::Select => &[true, false, false],
        Op::Number => &[true],
    };
    let inputs: Option<Vec<u32>> = kinds.iter().enumerate().map(|(k, &mask)| pick(k, mask)).collect();
    Some((op, inputs?))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_pass_has_the_bits_of_its_kernels(
        wide: bool,
        n in 1usize..70,
        arrays in 1usize..11,
        ops in proptest::collection::vec((0usize..36, [0usize..1000, 0usize..1000, 0usize..1000]), 1..120),
        kept in proptest::collection::vec(0usize..1000, 1..6),
        seed: u64,
    ) {
        if !has_code() {
            return Ok(());
        }
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let size = dtype.size();
        let mut pass = Pass::new(dtype, Span::Loop);
        let mut memory: Vec<Vec<u8>> = Vec::new();
        let mut values: Vec<Value> = Vec::new();
        let mut state = seed | 1;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize
        };
        for k in 0..arrays {
            let mask = k % 5 == 4;
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..room(n) {
                let x = NUMBERS[random() % NUMBERS.len()] * if random() % 2 == 0 { 1.0 } else { (random() % 1000) as f64 };
                match mask {
                    true => bytes.push([0u8, 1, 1, 255][random() % 4]),
                    false => bytes.extend(&bits(dtype, x).to_le_bytes()[..size]),
                }
            }
            let at = At { base: Some(k as u32), offset: 0 };
            let number = bits(dtype, NUMBERS[random() % NUMBERS.len()]);
            let everywhere = |b: &[u8]| b.iter().copied().cycle().take(room(n) * size).collect::<Vec<u8>>();
            let (step, value) = match (mask, k % 4) {
                (true, _) => (Step::LoadMask(at), bytes.clone()),
                (_, 1) => (Step::Number(number), everywhere(&number.to_le_bytes()[..size])),
                (_, 2) => (Step::Splat(at), everywhere(&bytes[..size])),
                _ => (Step::Load(at), bytes.clone()),
            };
            pass.push(step);
            memory.push(bytes);
            values.push(Value { bytes: value, is_mask: mask });
        }
        for &(op, operands) in &ops {
            let Some((op, inputs)) = choose(op, operands, &values) else { continue };
            let args: Vec<&Value> = inputs.iter().map(|&v| &values[v as usize]).collect();
            let result = by_kernel(op, dtype, n, &args);
            let mut three = [0u32; 3];
            three[..inputs.len()].copy_from_slice(&inputs);
            pass.push(Step::Op(op, three));
            values.push(result);
        }
        // all bases at hand: those of the arrays that are read, and one for all results
        let mut outputs: Vec<(u32, usize)> = Vec::new();
        let mut end = 0;
        for k in kept {
            let v = (k % values.len()) as u32;
            outputs.push((v, end));
            end += room(n) * 8;
        }
        outputs.push((values.len() as u32 - 1, end));
        let mut out = vec![0u8; end + room(n) * 8];
        for &(v, at) in &outputs {
            pass.stores.push(Store::new(v, At { base: Some(memory.len() as u32), offset: at as i32 }));
        }
        let mut table: Vec<*mut u8> = memory.iter_mut().map(|m| m.as_mut_ptr()).collect();
        table.push(out.as_mut_ptr());
        let (module, starts) = Module::build(std::slice::from_ref(&pass)).unwrap();
        call(starts[0], n, table.as_ptr(), 0);
        drop(module);
        for (v, at) in outputs {
            let (want, got) = (&values[v as usize], &out[at..]);
            prop_assert!(equal(dtype, n, &want.bytes, got, want.is_mask), "value {v} of {pass:?}");
        }
    }
}

#[test]
fn elements_of_one_vector_change_places() {
    if !has_code() {
        return;
    }
    let mut pass = Pass::new(DType::F64, Span::Once);
    let x = pass.push(Step::Load(At { base: None, offset: 0 }));
    let back = pass.push(Step::Permute(x, [2, 1, 0].map(Some).into()));
    let first = pass.push(Step::Permute(x, [Some(0); 4].into()));
    let some = pass.push(Step::Permute(x, [None, Some(2), None, Some(0)].into()));
    let sum = pass.push(Step::Op(Op::Binary(Binary::Add), [back, first, 0]));
    let placed = pass.push(Step::Place(sum, x, [None, Some(7), None, None, Some(0)].into()));
    for (k, v) in [back, first, some, sum, placed].into_iter().enumerate() {
        pass.stores.push(Store::new(v, At { base: None, offset: 64 * (k as i32 + 1) }));
    }
    let (_module, starts) = Module::build(&[pass]).unwrap();
    let mut memory = [[1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]; 6];
    call(starts[0], 3, memory.as_mut_ptr().cast(), 0);
    assert_eq!(memory[1][..3], [3.0, 2.0, 1.0]);
    assert_eq!(memory[2][..4], [1.0; 4]);
    assert_eq!(memory[3][..4], [0.0, 3.0, 0.0, 1.0]);
    assert_eq!(memory[4][..3], [4.0, 3.0, 2.0]);
    assert_eq!(memory[5][..5], [4.0, 8.0, 2.0, memory[4][3], 1.0]);
}

#[test]
fn elements_inside_a_range() {
    if !has_code() {
        return;
    }
    fn check<T: Copy + PartialEq + Default + std::fmt::Debug>(dtype: DType, one: T) {
        for (n, first, from, end) in
            [(1, 0, 0, 1), (40, 0, 3, 30), (40, 100, 103, 139), (20, 7, 0, 9), (33, 64, 90, 90)]
        {
            let mut pass = Pass::new(dtype, Span::Loop);
            let called = pass.push(Step::Called);
            let x = pass.push(Step::Load(At { base: Some(0), offset: 0 }));
            let m = pass.push(Step::Inside(from, end));
            let zero = pass.push(Step::Number(0));
            let y = pass.push(Step::Op(Op::Select, [m, x, zero]));
            let z = pass.push(Step::LoadWhere(At { base: Some(0), offset: 0 }, m));
            let test = pass.push(Step::Op(Op::Binary(Binary::Equal), [y, z, 0]));
            pass.stores.push(Store { value: y, at: At { base: Some(1), offset: 0 }, only: Some(called) });
            pass.stores.push(Store { value: test, at: At { base: Some(2), offset: 0 }, only: Some(called) });
            let (_module, starts) = Module::build(&[pass]).unwrap();
            let mut x = vec![one; room(n)];
            let mut y = vec![one; room(n)];
            let mut same = vec![7u8; room(n)];
            let table = [x.as_mut_ptr().cast(), y.as_mut_ptr().cast(), same.as_mut_ptr()];
            call(starts[0], n, table.as_ptr(), first);
            let wanted: Vec<T> =
                (first..first + n).map(|i| if (from..end).contains(&i) { one } else { T::default() }).collect();
            assert_eq!(y[..n], wanted);
            // nothing is written behind the last one
            assert!(y[n..].iter().all(|&y| y == one) && same[..n].iter().all(|&s| s == 1));
            assert!(same[n..].iter().all(|&s| s == 7));
        }
    }
    check(DType::F64, 1.0f64);
    check(DType::F32, 1.0f32);
}

use super::super::operand::{array_dtype, materialise, result_dtype};
use super::super::ufunc::Ufunc;
use super::*;
use crate::ops::{Binary, Leaf, Op, Unary};
use DType::{Bool, F32, F64, I32, I64, U8};

fn call(t: &mut Tape, name: &str, args: &[Operand]) -> Result<NodeId> {
    Ufunc::by_name(name).unwrap_or_else(|| panic!("no {name}")).call(t, args).map(|y| y[0])
}

/// The dtype that `name` gives for arrays of these dtypes, or that it refuses them.
fn dtype(name: &str, args: &[DType]) -> Option<DType> {
    let mut t = Tape::new();
    let args: Vec<Operand> = args.iter().map(|&d| array(&mut t, &[2], d).into()).collect();
    match call(&mut t, name, &args) {
        Ok(y) => Some(t.dtype(y)),
        Err(Error::Type(_)) => None,
        Err(e) => panic!("{name}: {e}"),
    }
}

#[test]
fn promotion_is_numpys() {
    let mut t = Tape::new();
    let all: Vec<NodeId> = [Bool, U8, I32, I64, F32, F64].map(|d| array(&mut t, &[2], d)).to_vec();
    // with a Python int, with a Python float
    let weakly = [(I64, F64), (U8, F64), (I32, F64), (I64, F64), (F32, F32), (F64, F64)];
    for (&x, (int, float)) in all.iter().zip(weakly) {
        assert_eq!(result_dtype(&t, &[x.into(), Operand::Int(2)]), Ok(int));
        assert_eq!(result_dtype(&t, &[Operand::Float(2.5), x.into()]), Ok(float));
        assert_eq!(result_dtype(&t, &[x.into(), Operand::Bool(true)]), Ok(t.dtype(x)));
        assert_eq!(array_dtype(&t, &[x.into(), Operand::Float(2.5)]), Ok(F64));
    }
    assert_eq!(result_dtype(&t, &[all[2].into(), all[4].into()]), Ok(F64));
    assert_eq!(result_dtype(&t, &[Operand::Int(1), Operand::Bool(true)]), Ok(I64));
    assert_eq!(result_dtype(&t, &[Operand::Int(1), Operand::Float(1.0)]), Ok(F64));
    assert_eq!(result_dtype(&t, &[Operand::Bool(true), Operand::Bool(true)]), Ok(Bool));
    let (i, f) = (array(&mut t, &[], I64), array(&mut t, &[], F64));
    assert_eq!(result_dtype(&t, &[all[4].into(), weak(f)]), Ok(F32));
    assert_eq!(result_dtype(&t, &[all[1].into(), weak(i)]), Ok(U8));
    assert_eq!(result_dtype(&t, &[all[4].into(), f.into()]), Ok(F64));
    let c = array(&mut t, &[], DType::C128);
    fails(result_dtype(&t, &[c.into()]), "complex numbers are not supported yet");
}

#[test]
fn python_numbers_are_parameters_unless_a_simplification_looks_at_them() {
    let mut t = Tape::new();
    for (v, literal) in [(0.0, true), (-0.0, true), (1.0, true), (-1.0, true), (0.01, false), (2.0, false)] {
        let x = materialise(&mut t, Operand::Float(v), F64, &[]).unwrap();
        assert_eq!(matches!(t.op(x), Op::Leaf(Leaf::Literal(_))), literal, "{v}");
    }
    let big = materialise(&mut t, Operand::Int((1 << 53) + 1), I64, &[]).unwrap();
    assert!(matches!(t.node(big).value, Some(crate::tape::Value::Scalar(bits)) if bits == (1 << 53) + 1));
    let u = array(&mut t, &[2], U8);
    let e = fails(call(&mut t, "add", &[u.into(), Operand::Int(300)]), "Python integer 300 out of bounds for uint8");
    assert!(matches!(e, Error::Overflow(_)));
    fails(call(&mut t, "subtract", &[Operand::Int(-1), u.into()]), "Python integer -1 out of bounds for uint8");
    // a comparison takes it
    assert!(call(&mut t, "less", &[u.into(), Operand::Int(300)]).is_ok());
}

#[test]
fn dtypes_of_unary_functions() {
    let table: &[(&str, [Option<DType>; 4])] = &[
        ("negative", [None, Some(U8), Some(I32), Some(F32)]),
        ("positive", [None, Some(U8), Some(I32), Some(F32)]),
        ("absolute", [Some(Bool), Some(U8), Some(I32), Some(F32)]),
        ("fabs", [None, None, Some(F64), Some(F32)]),
        ("sign", [None, Some(U8), Some(I32), Some(F32)]),
        ("square", [None, Some(U8), Some(I32), Some(F32)]),
        ("floor", [Some(Bool), Some(U8), Some(I32), Some(F32)]),
        ("rint", [None, None, Some(F64), Some(F32)]),
        ("sin", [None, None, Some(F64), Some(F32)]),
        ("degrees", [None, None, Some(F64), Some(F32)]),
        ("isnan", [Some(Bool); 4]),
        ("logical_not", [Some(Bool); 4]),
        ("invert", [Some(Bool), Some(U8), Some(I32), None]),
        ("erf", [Some(F64), Some(F64), Some(F64), Some(F32)]),
        ("erfinv", [Some(F32), Some(F32), Some(F64), Some(F32)]),
        ("softplus", [None, None, Some(F64), Some(F32)]),
    ];
    for (name, expected) in table {
        for (d, e) in [Bool, U8, I32, F32].into_iter().zip(expected) {
            assert_eq!(dtype(name, &[d]), *e, "{name} of {d}");
        }
    }
}

#[test]
fn dtypes_of_binary_functions() {
    let pairs = [[Bool, Bool], [U8, U8], [I32, I64], [I32, F32], [F32, F32]];
    let table: &[(&str, [Option<DType>; 5])] = &[
        ("add", [Some(Bool), Some(U8), Some(I64), Some(F64), Some(F32)]),
        ("subtract", [None, Some(U8), Some(I64), Some(F64), Some(F32)]),
        ("divide", [Some(F64), Some(F64), Some(F64), Some(F64), Some(F32)]),
        ("floor_divide", [None, Some(U8), Some(I64), Some(F64), Some(F32)]),
        ("power", [None, Some(U8), Some(I64), Some(F64), Some(F32)]),
        ("float_power", [Some(F64); 5]),
        ("less", [Some(Bool); 5]),
        ("logical_and", [Some(Bool); 5]),
        ("bitwise_and", [Some(Bool), Some(U8), Some(I64), None, None]),
        ("left_shift", [None, Some(U8), Some(I64), None, None]),
        ("gcd", [None, Some(U8), Some(I64), None, None]),
        ("hypot", [None, None, Some(F64), Some(F64), Some(F32)]),
        ("ldexp", [None, None, Some(F64), None, None]),
        ("xlogy", [Some(F64), Some(F64), Some(F64), Some(F64), Some(F32)]),
    ];
    for (name, expected) in table {
        for (d, e) in pairs.iter().zip(expected) {
            assert_eq!(dtype(name, d), *e, "{name} of {d:?}");
        }
    }
}

#[test]
fn every_name_of_the_table_can_be_called() {
    for name in Ufunc::names() {
        let f = Ufunc::by_name(name).unwrap();
        let mut t = Tape::new();
        let d = if ["gcd", "lcm", "invert"].contains(&name) || name.contains("bitwise") || name.contains("shift") {
            I64
        } else {
            F64
        };
        let x = array(&mut t, &[2, 1], d);
        let mut args = vec![Operand::from(x), Operand::Int(2)];
        if name == "polygamma" {
            args.reverse();
        }
        args.truncate(f.nin());
        let y = f.call(&mut t, &args).unwrap();
        assert_eq!(y.len(), f.nout(), "{name}");
        assert!(y.iter().all(|&y| t.shape(y).as_slice() == [2, 1]), "{name}");
        fails(f.call(&mut t, &[]), "takes");
    }
    assert!(Ufunc::by_name("frobnicate").is_none());
}

#[test]
fn powers_that_have_an_operation_of_their_own() {
    let mut t = Tape::new();
    let x = float(&mut t, &[3]);
    let op = |t: &mut Tape, n: Operand| {
        let y = call(t, "power", &[x.into(), n]).unwrap();
        t.op(y).clone()
    };
    assert_eq!(op(&mut t, Operand::Float(0.5)), Op::Unary(Unary::Sqrt));
    assert_eq!(op(&mut t, Operand::Int(2)), Op::Unary(Unary::Square));
    assert_eq!(op(&mut t, Operand::Int(-1)), Op::Unary(Unary::Reciprocal));
    assert_eq!(op(&mut t, Operand::Int(5)), Op::Binary(Binary::Pow));
    assert_eq!(call(&mut t, "power", &[x.into(), Operand::Int(1)]), Ok(x));
    let i = array(&mut t, &[3], I32);
    let says = "Integers to negative integer powers are not allowed";
    let e = fails(call(&mut t, "power", &[i.into(), Operand::Int(-1)]), says);
    assert!(matches!(e, Error::Value(_)));
    let exponents = super::super::operand::integers(&mut t, &[2, -1, 0]).unwrap();
    fails(call(&mut t, "power", &[i.into(), exponents.into()]), says);
    let y = call(&mut t, "power", &[i.into(), Operand::Float(-1.0)]).unwrap();
    assert_eq!(t.dtype(y), F64);
}

#[test]
fn messages() {
    let mut t = Tape::new();
    let (b, u, x) = (array(&mut t, &[2], Bool), array(&mut t, &[2], U8), float(&mut t, &[3]));
    fails(call(&mut t, "negative", &[b.into()]), "use the `~` operator or the logical_not function");
    fails(call(&mut t, "subtract", &[b.into(), b.into()]), "use the bitwise_xor, the `^` operator");
    fails(call(&mut t, "sin", &[u.into()]), "use x.astype(np.float64)");
    fails(call(&mut t, "power", &[b.into(), b.into()]), "int8");
    fails(call(&mut t, "bitwise_and", &[x.into(), Operand::Int(1)]), "not supported for float64");
    let e = fails(call(&mut t, "add", &[b.into(), x.into()]), "could not be broadcast together with shapes (2,) (3,)");
    assert!(matches!(e, Error::Value(_)));
    let c = array(&mut t, &[2], DType::C64);
    fails(call(&mut t, "exp", &[c.into()]), "complex numbers are not supported yet");
    fails(call(&mut t, "polygamma", &[x.into(), x.into()]), "the order must be a Python int");
}

#[test]
fn broadcasts() {
    let mut t = Tape::new();
    let (x, y) = (float(&mut t, &[4, 1]), float(&mut t, &[3]));
    let z = call(&mut t, "logaddexp", &[x.into(), y.into()]);
    assert_eq!(shape_of(&t, z), [4, 3]);
    let z = call(&mut t, "logical_or", &[x.into(), Operand::Float(0.5)]);
    assert_eq!(shape_of(&t, z), [4, 1]);
}

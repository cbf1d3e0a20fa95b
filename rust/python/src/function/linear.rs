//! Products of vectors, matrices and tensors, and numpy.linalg.

use mlgrad_core::Result;
use mlgrad_core::numpy::norm::{self as norms, Order};
use mlgrad_core::numpy::{Operand, einsum as contraction, linalg, product};
use mlgrad_core::tape::{NodeId, Tape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{finish, on, on_one, on_trace};
use crate::args::{self, Any, integers};
use crate::array::{Array, Kind};
use crate::{convert, dtypes, ufunc};

type Object = PyResult<Py<PyAny>>;

/// The products that NumPy has as generalised ufuncs.
#[derive(Clone, Copy)]
pub enum Product {
    MatMul,
    VecDot,
    MatVec,
    VecMat,
}

impl Product {
    pub fn by_name(name: &str) -> Option<Product> {
        Some(match name {
            "matmul" => Product::MatMul,
            "vecdot" => Product::VecDot,
            "matvec" => Product::MatVec,
            "vecmat" => Product::VecMat,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Product::MatMul => "matmul",
            Product::VecDot => "vecdot",
            Product::MatVec => "matvec",
            Product::VecMat => "vecmat",
        }
    }

    fn record(self, t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
        match self {
            Product::MatMul => product::matmul(t, a, b),
            Product::VecDot => product::vecdot(t, a, b, -1),
            Product::MatVec => product::matvec(t, a, b),
            Product::VecMat => product::vecmat(t, a, b),
        }
    }
}

/// A product of two of which one is an Array.
pub fn product_of(p: Product, a: &Any<'_>, b: &Any<'_>) -> PyResult<Array> {
    on(p.name(), [a, b], |t, [a, b]| p.record(t, a, b))
}

/// `x @ y`
pub fn operator(py: Python<'_>, me: &Array, other: &Any<'_>, reflected: bool) -> Object {
    let Some(y) = convert::try_lift(py, me.trace(), other)? else { return Ok(py.NotImplemented()) };
    let x = me.operand(py)?;
    let z = on_trace(py, me.trace(), |t| if reflected { product::matmul(t, y, x) } else { product::matmul(t, x, y) })?;
    Ok(Py::new(py, z)?.into_any())
}

/// `x @= y`
pub fn in_place(py: Python<'_>, me: &Bound<'_, Array>, other: &Any<'_>) -> Object {
    let a = me.get();
    if a.kind != Kind::Array {
        return Ok(py.NotImplemented());
    }
    let Some(y) = convert::try_lift(py, a.trace(), other)? else { return Ok(py.NotImplemented()) };
    let x = a.operand(py)?;
    let z = on_trace(py, a.trace(), |t| product::matmul(t, x, y))?;
    ufunc::write_out(py, "matmul", a, z.node(py)?, None)?;
    Ok(me.clone().into_any().unbind())
}

#[pyfunction]
#[pyo3(signature = (a, b, out=None))]
fn dot(a: &Any<'_>, b: &Any<'_>, out: Option<&Any<'_>>) -> Object {
    finish(a.py(), "dot", on("dot", [a, b], |t, [a, b]| product::dot(t, a, b))?, out)
}

#[pyfunction]
#[pyo3(signature = (a, b, /))]
fn vdot(a: &Any<'_>, b: &Any<'_>) -> PyResult<Array> {
    on("vdot", [a, b], |t, [a, b]| product::vdot(t, a, b))
}

#[pyfunction]
#[pyo3(signature = (a, b, /))]
fn inner(a: &Any<'_>, b: &Any<'_>) -> PyResult<Array> {
    on("inner", [a, b], |t, [a, b]| product::inner(t, a, b))
}

#[pyfunction]
#[pyo3(signature = (a, b, out=None))]
fn outer(a: &Any<'_>, b: &Any<'_>, out: Option<&Any<'_>>) -> Object {
    finish(a.py(), "outer", on("outer", [a, b], |t, [a, b]| product::outer(t, a, b))?, out)
}

#[pyfunction]
fn kron(a: &Any<'_>, b: &Any<'_>) -> PyResult<Array> {
    on("kron", [a, b], |t, [a, b]| product::kron(t, a, b))
}

/// `axes=`: a number, or two lists.
#[pyfunction]
#[pyo3(signature = (a, b, axes=None))]
fn tensordot(a: &Any<'_>, b: &Any<'_>, axes: Option<&Any<'_>>) -> PyResult<Array> {
    let both = match axes {
        None => Err(2),
        Some(axes) => match axes.extract::<usize>() {
            Ok(n) => Err(n),
            Err(_) => {
                let (x, y) = axes
                    .extract::<(Any<'_>, Any<'_>)>()
                    .or_else(|_| axes.extract::<[Any<'_>; 2]>().map(|[x, y]| (x, y)))
                    .map_err(|_| PyTypeError::new_err("tensordot: axes must be an integer or a pair of lists"))?;
                Ok((integers("axis", &x)?, integers("axis", &y)?))
            }
        },
    };
    on("tensordot", [a, b], |t, [x, y]| match &both {
        Ok((p, q)) => product::tensordot(t, x, y, p, q),
        Err(n) => product::tensordot_n(t, x, y, *n),
    })
}

/// The axes of one operand, given as a list of numbers and perhaps an ellipsis, in letters: as NumPy numbers them.
fn letters(axes: &Any<'_>) -> PyResult<String> {
    const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let wrong = |what: &Any<'_>| {
        PyTypeError::new_err(format!(
            "einsum: give subscripts and operands, einsum('ij,jk->ik', a, b), or operands each followed by a list of axes, \
             einsum(a, [0, 1], b, [1, 2], [0, 2]); got {} instead of a list of integers",
            what.get_type()
        ))
    };
    let ellipsis = axes.py().Ellipsis();
    let mut out = String::new();
    for item in axes.try_iter().map_err(|_| wrong(axes))? {
        let item = item?;
        if item.is(&ellipsis) {
            out.push_str("...");
            continue;
        }
        let k = args::integer("axis", &item).map_err(|_| wrong(axes))?;
        let letter = usize::try_from(k).ok().and_then(|k| LETTERS.get(k)).ok_or_else(|| {
            PyValueError::new_err(format!(
                "einsum: axes in lists are numbered from 0 to 51, got {k}; use smaller numbers"
            ))
        })?;
        out.push(char::from(*letter));
    }
    Ok(out)
}

/// `einsum(a, [0, 1], b, [1, 2], [0, 2])` as subscripts and operands.
fn with_lists<'py>(
    py: Python<'py>,
    first: &Any<'py>,
    rest: &Bound<'py, PyTuple>,
) -> PyResult<(String, Bound<'py, PyTuple>)> {
    let all: Vec<Any<'py>> = std::iter::once(first.clone()).chain(rest.iter()).collect();
    let pairs = all.chunks_exact(2);
    let result = pairs.remainder().first().map(letters).transpose()?;
    let terms = pairs.clone().map(|pair| letters(&pair[1])).collect::<PyResult<Vec<_>>>()?;
    let mut subscripts = terms.join(",");
    if let Some(result) = result {
        subscripts += "->";
        subscripts += &result;
    }
    Ok((subscripts, PyTuple::new(py, pairs.map(|pair| pair[0].clone()))?))
}

#[pyfunction]
#[pyo3(signature = (subscripts, *operands, out=None, dtype=None, order=None, casting="safe", optimize=None))]
#[expect(clippy::too_many_arguments, reason = "they are NumPy's")]
fn einsum(
    py: Python<'_>,
    subscripts: &Any<'_>,
    operands: &Bound<'_, PyTuple>,
    out: Option<&Any<'_>>,
    dtype: Option<&Any<'_>>,
    order: Option<&str>,
    casting: &str,
    optimize: Option<&Any<'_>>,
) -> Object {
    // the order of contraction is decided here
    let _ = (order, casting, optimize);
    let (subscripts, operands) = match subscripts.extract::<String>() {
        Ok(s) => (s, operands.clone()),
        Err(_) => with_lists(py, subscripts, operands)?,
    };
    let (trace, operands) = super::sequence("einsum", operands.as_any(), &[])?;
    let y = on_trace(py, &trace, |t| contraction::einsum(t, &subscripts, &operands))?;
    let y = match dtypes::parse_optional(dtype)? {
        Some(d) if d != y.dtype => super::shaping::cast(py, &y, d)?,
        _ => y,
    };
    finish(py, "einsum", y, out)
}

#[pyfunction]
#[pyo3(signature = (a, b, axisa=-1, axisb=-1, axisc=-1, axis=None))]
fn cross(a: &Any<'_>, b: &Any<'_>, axisa: i64, axisb: i64, axisc: i64, axis: Option<i64>) -> PyResult<Array> {
    let (p, q, r) = axis.map_or((axisa, axisb, axisc), |k| (k, k, k));
    on("cross", [a, b], |t, [a, b]| product::cross(t, a, b, p, q, r))
}

#[pyfunction]
#[pyo3(name = "linalg_cross", signature = (x1, x2, /, *, axis=-1))]
fn cross3(x1: &Any<'_>, x2: &Any<'_>, axis: i64) -> PyResult<Array> {
    on("cross", [x1, x2], |t, [a, b]| product::cross(t, a, b, axis, axis, axis))
}

#[pyfunction]
#[pyo3(name = "linalg_outer", signature = (x1, x2, /))]
fn outer2(x1: &Any<'_>, x2: &Any<'_>) -> PyResult<Array> {
    on("outer", [x1, x2], |t, [a, b]| product::outer(t, a, b))
}

#[pyfunction]
#[pyo3(name = "linalg_matmul", signature = (x1, x2, /))]
fn matmul2(x1: &Any<'_>, x2: &Any<'_>) -> PyResult<Array> {
    product_of(Product::MatMul, x1, x2)
}

#[pyfunction]
#[pyo3(name = "linalg_vecdot", signature = (x1, x2, /, *, axis=-1))]
fn vecdot2(x1: &Any<'_>, x2: &Any<'_>, axis: i64) -> PyResult<Array> {
    on("vecdot", [x1, x2], |t, [a, b]| product::vecdot(t, a, b, axis))
}

#[pyfunction]
fn multi_dot(arrays: &Any<'_>) -> PyResult<Array> {
    let (trace, operands) = super::sequence("multi_dot", arrays, &[])?;
    if operands.len() < 2 {
        return Err(PyValueError::new_err("multi_dot: expecting at least two arrays"));
    }
    on_trace(arrays.py(), &trace, |t| product::multi_dot(t, &operands))
}

#[pyfunction]
fn matrix_power(a: &Any<'_>, n: i64) -> PyResult<Array> {
    on_one("matrix_power", a, |t, x| linalg::matrix_power(t, x, n))
}

// ---- numpy.linalg

#[pyfunction]
fn solve(a: &Any<'_>, b: &Any<'_>) -> PyResult<Array> {
    on("solve", [a, b], |t, [a, b]| linalg::solve(t, a, b))
}

/// The same for symmetric matrices, of which the lower triangle may be all that is read.
#[pyfunction]
pub fn solve_symmetric(a: &Any<'_>, b: &Any<'_>) -> PyResult<Array> {
    on("solve_symmetric", [a, b], |t, [a, b]| linalg::solve_symmetric(t, a, b))
}

/// The same with a number, one for each matrix, added to its diagonal.
#[pyfunction]
pub fn solve_shifted(a: &Any<'_>, b: &Any<'_>, shift: &Any<'_>) -> PyResult<Array> {
    on("solve_shifted", [a, b, shift], |t, [a, b, shift]| linalg::solve_shifted(t, a, b, shift))
}

#[pyfunction]
fn inv(a: &Any<'_>) -> PyResult<Array> {
    on_one("inv", a, linalg::inv)
}

#[pyfunction]
fn det(a: &Any<'_>) -> PyResult<Array> {
    on_one("det", a, linalg::det)
}

#[pyfunction]
#[pyo3(signature = (a, /, *, upper=false))]
fn cholesky(a: &Any<'_>, upper: bool) -> PyResult<Array> {
    on_one("cholesky", a, |t, x| linalg::cholesky(t, x, upper))
}

/// `ord=` of a norm.
fn order(object: Option<&Any<'_>>) -> PyResult<Order> {
    let Some(o) = object.filter(|o| !o.is_none()) else { return Ok(Order::Default) };
    if let Ok(name) = o.extract::<String>() {
        return Order::by_name(&name)
            .ok_or_else(|| PyValueError::new_err(format!("norm: invalid norm order '{name}'")));
    }
    Ok(Order::Number(o.extract::<f64>()?))
}

#[pyfunction]
#[pyo3(signature = (x, ord=None, axis=None, keepdims=false))]
fn norm(x: &Any<'_>, ord: Option<&Any<'_>>, axis: Option<&Any<'_>>, keepdims: bool) -> PyResult<Array> {
    let (ord, axes) = (order(ord)?, args::axes(axis)?);
    on_one("norm", x, |t, x| norms::norm(t, x, ord, axes.as_deref(), keepdims))
}

#[pyfunction]
#[pyo3(signature = (x, /, *, axis=None, keepdims=false, ord=2.0))]
fn vector_norm(x: &Any<'_>, axis: Option<&Any<'_>>, keepdims: bool, ord: f64) -> PyResult<Array> {
    let axes = args::axes(axis)?;
    on_one("vector_norm", x, |t, x| norms::vector_norm(t, x, ord, axes.as_deref(), keepdims))
}

#[pyfunction]
#[pyo3(signature = (x, /, *, keepdims=false, ord=None))]
fn matrix_norm(x: &Any<'_>, keepdims: bool, ord: Option<&Any<'_>>) -> PyResult<Array> {
    let ord = match order(ord)? {
        Order::Default => Order::Frobenius,
        o => o,
    };
    on_one("matrix_norm", x, |t, x| norms::matrix_norm(t, x, ord, (-2, -1), keepdims))
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        dot: ["dot"], vdot: ["vdot"], inner: ["inner"], outer: ["outer"], kron: ["kron"], tensordot: ["tensordot", "linalg.tensordot"],
        einsum: ["einsum"], cross: ["cross"], cross3: ["linalg.cross"], outer2: ["linalg.outer"], matmul2: ["linalg.matmul"],
        vecdot2: ["linalg.vecdot"], multi_dot: ["linalg.multi_dot"], matrix_power: ["linalg.matrix_power"],
        solve: ["linalg.solve"], inv: ["linalg.inv"], det: ["linalg.det"],
        cholesky: ["linalg.cholesky"], norm: ["linalg.norm"], vector_norm: ["linalg.vector_norm"],
        matrix_norm: ["linalg.matrix_norm"],
    });
    Ok(())
}

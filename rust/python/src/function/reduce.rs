//! Reductions and running sums and products.

use std::sync::Arc;

use mlgrad_core::Error;
use mlgrad_core::numpy::accumulate::accumulate;
use mlgrad_core::numpy::operand::materialise;
use mlgrad_core::numpy::ufunc::Ufunc;
use mlgrad_core::numpy::{Operand, reduce};
use mlgrad_core::tape::{DType, NodeId, Tape, shape};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{finish, on_one, on_trace, optional};
use crate::args::{self, Any, Given};
use crate::array::Array;
use crate::trace::Trace;
use crate::{convert, dtypes};

type Object = PyResult<Py<PyAny>>;

#[derive(Clone, Copy, PartialEq)]
pub enum Reduction {
    Sum,
    Prod,
    Max,
    Min,
    Any,
    All,
    Logaddexp,
}

impl Reduction {
    fn name(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Prod => "prod",
            Reduction::Max => "max",
            Reduction::Min => "min",
            Reduction::Any => "any",
            Reduction::All => "all",
            Reduction::Logaddexp => "logaddexp",
        }
    }

    fn record(self, t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> mlgrad_core::Result<NodeId> {
        match self {
            Reduction::Sum => reduce::sum(t, x, axes, keepdims),
            Reduction::Prod => reduce::prod(t, x, axes, keepdims),
            Reduction::Max => reduce::max(t, x, axes, keepdims),
            Reduction::Min => reduce::min(t, x, axes, keepdims),
            Reduction::Any => reduce::any(t, x, axes, keepdims),
            Reduction::All => reduce::all(t, x, axes, keepdims),
            Reduction::Logaddexp => reduce::logsumexp(t, x, axes, None, keepdims),
        }
    }

    /// The ufunc that takes two elements together.
    fn pair(self) -> &'static str {
        match self {
            Reduction::Sum => "add",
            Reduction::Prod => "multiply",
            Reduction::Max => "maximum",
            Reduction::Min => "minimum",
            Reduction::Any => "logical_or",
            Reduction::All => "logical_and",
            Reduction::Logaddexp => "logaddexp",
        }
    }

    /// What leaves the others as they are.
    fn neutral(self) -> Option<Operand> {
        match self {
            Reduction::Sum => Some(Operand::Int(0)),
            Reduction::Prod => Some(Operand::Int(1)),
            Reduction::Any => Some(Operand::Bool(false)),
            Reduction::All => Some(Operand::Bool(true)),
            Reduction::Logaddexp => Some(Operand::Float(f64::NEG_INFINITY)),
            Reduction::Max | Reduction::Min => None,
        }
    }
}

/// The arguments that NumPy's reductions share.
#[derive(Default)]
pub struct How<'a, 'py> {
    pub axes: Option<Given>,
    pub keepdims: bool,
    pub dtype: Option<DType>,
    pub initial: Option<&'a Any<'py>>,
    pub only: Option<&'a Any<'py>>,
}

/// Elements that `where=` leaves out become the neutral element.
fn masked(
    py: Python<'_>,
    trace: &Arc<Trace>,
    what: &str,
    x: NodeId,
    only: Option<&Any<'_>>,
    neutral: Option<Operand>,
) -> PyResult<NodeId> {
    let Some(only) = only.filter(|o| !o.is_none()) else { return Ok(x) };
    let mask = convert::lift(py, trace, only)?;
    let Some(neutral) = neutral else {
        return Err(PyValueError::new_err(format!(
            "reduction operation '{what}' does not have an identity, so to use a where mask one has to specify 'initial'"
        )));
    };
    crate::array::record(py, trace, |s| {
        let t = &mut s.tape;
        let dtype = t.dtype(x);
        let to = t.shape(x).clone();
        let m = materialise(t, mask, DType::Bool, &to)?;
        let n = materialise(t, neutral, dtype, &to)?;
        t.select(m, x, n)
    })
}

pub fn reduced(x: &Any<'_>, what: Reduction, how: &How<'_, '_>) -> PyResult<Array> {
    let py = x.py();
    let trace = args::trace_of(what.name(), &[x], None)?;
    let x = convert::lift(py, &trace, x)?;
    let initial = optional(py, &trace, how.initial)?;
    let x = crate::array::record(py, &trace, |s| {
        let x = x.to_node(&mut s.tape)?;
        match how.dtype {
            Some(d) => s.tape.cast(x, d),
            None => Ok(x),
        }
    })?;
    let x = masked(py, &trace, what.name(), x, how.only, what.neutral().or(initial))?;
    on_trace(py, &trace, |t| {
        let axes = how.axes.as_deref();
        let Some(initial) = initial else { return what.record(t, x, axes, how.keepdims) };
        let y = if shape::size(t.shape(x)) == 0 && what.neutral().is_none() {
            // nothing but the initial value: the shape is that of a sum
            let zeros = reduce::sum(t, x, axes, how.keepdims)?;
            let (to, dtype) = (t.shape(zeros).clone(), t.dtype(x));
            return materialise(t, initial, dtype, &to);
        } else {
            what.record(t, x, axes, how.keepdims)?
        };
        let dtype = t.dtype(y);
        let to = t.shape(y).clone();
        let initial = materialise(t, initial, dtype, &to)?;
        let f = mlgrad_core::numpy::ufunc::Ufunc::by_name(what.pair())
            .ok_or_else(|| Error::Internal(format!("no ufunc {}", what.pair())))?;
        Ok(f.call(t, &[y.into(), initial.into()])?[0])
    })
}

/// Over everything.
pub fn whole(py: Python<'_>, what: Reduction, a: &Array) -> PyResult<Array> {
    let x = a.node(py)?;
    on_trace(py, a.trace(), |t| what.record(t, x, None, false))
}

macro_rules! with_dtype {
    ($($name:ident $what:ident;)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, axis=None, dtype=None, out=None, keepdims=false, initial=None, r#where=None))]
        fn $name(
            a: &Any<'_>,
            axis: Option<&Any<'_>>,
            dtype: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            keepdims: bool,
            initial: Option<&Any<'_>>,
            r#where: Option<&Any<'_>>,
        ) -> Object {
            let how = How { axes: args::axes(axis)?, keepdims, dtype: dtypes::parse_optional(dtype)?, initial, only: r#where };
            finish(a.py(), stringify!($name), reduced(a, Reduction::$what, &how)?, out)
        }
    )*};
}

with_dtype! { sum Sum; prod Prod; }

macro_rules! extremes {
    ($($name:ident $what:ident;)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, axis=None, out=None, keepdims=false, initial=None, r#where=None))]
        fn $name(
            a: &Any<'_>,
            axis: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            keepdims: bool,
            initial: Option<&Any<'_>>,
            r#where: Option<&Any<'_>>,
        ) -> Object {
            let how = How { axes: args::axes(axis)?, keepdims, dtype: None, initial, only: r#where };
            finish(a.py(), stringify!($name), reduced(a, Reduction::$what, &how)?, out)
        }
    )*};
}

extremes! { max Max; min Min; }

macro_rules! logical {
    ($($name:ident $what:ident;)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, axis=None, out=None, keepdims=false, *, r#where=None))]
        fn $name(
            a: &Any<'_>,
            axis: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            keepdims: bool,
            r#where: Option<&Any<'_>>,
        ) -> Object {
            // elements that are left out count as neither
            let how = How { axes: args::axes(axis)?, keepdims, dtype: Some(DType::Bool), initial: None, only: r#where };
            finish(a.py(), stringify!($name), reduced(a, Reduction::$what, &how)?, out)
        }
    )*};
}

logical! { any Any; all All; }

macro_rules! positions {
    ($($name:ident)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, axis=None, out=None, *, keepdims=false))]
        fn $name(a: &Any<'_>, axis: Option<i64>, out: Option<&Any<'_>>, keepdims: bool) -> Object {
            finish(a.py(), stringify!($name), on_one(stringify!($name), a, |t, x| reduce::$name(t, x, axis, keepdims))?, out)
        }
    )*};
}

positions! { argmax argmin }

#[pyfunction]
#[pyo3(signature = (a, axis=None, *, keepdims=false))]
fn count_nonzero(a: &Any<'_>, axis: Option<&Any<'_>>, keepdims: bool) -> PyResult<Array> {
    let axes = args::axes(axis)?;
    on_one("count_nonzero", a, |t, x| reduce::count_nonzero(t, x, axes.as_deref(), keepdims))
}

#[pyfunction]
#[pyo3(signature = (a, axis=None, out=None, keepdims=false))]
fn ptp(a: &Any<'_>, axis: Option<&Any<'_>>, out: Option<&Any<'_>>, keepdims: bool) -> Object {
    let axes = args::axes(axis)?;
    finish(a.py(), "ptp", on_one("ptp", a, |t, x| reduce::ptp(t, x, axes.as_deref(), keepdims))?, out)
}

/// Running sums, or products.
pub fn running(x: &Any<'_>, product: bool, axis: Option<i64>, dtype: Option<DType>) -> PyResult<Array> {
    on_one(if product { "cumprod" } else { "cumsum" }, x, |t, x| {
        let x = match dtype {
            Some(d) => t.cast(x, d)?,
            None => x,
        };
        if product { reduce::cumprod(t, x, axis) } else { reduce::cumsum(t, x, axis) }
    })
}

/// `f.accumulate`, for functions that may be taken together in any order.
pub fn accumulated(x: &Any<'_>, f: Ufunc, axis: i64, dtype: Option<DType>) -> PyResult<Array> {
    on_one(f.name(), x, |t, x| {
        let x = match dtype {
            Some(d) => t.cast(x, d)?,
            None => x,
        };
        accumulate(t, f, x, axis)
    })
}

macro_rules! cumulative {
    ($($name:ident $product:literal;)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, axis=None, dtype=None, out=None))]
        fn $name(a: &Any<'_>, axis: Option<i64>, dtype: Option<&Any<'_>>, out: Option<&Any<'_>>) -> Object {
            finish(a.py(), stringify!($name), running(a, $product, axis, dtypes::parse_optional(dtype)?)?, out)
        }
    )*};
}

cumulative! { cumsum false; cumprod true; }

/// `np.cumulative_sum` and `np.cumulative_prod`: an axis must be named for more than one; a neutral element may come first.
fn cumulative_from(
    x: &Any<'_>,
    product: bool,
    axis: Option<i64>,
    dtype: Option<&Any<'_>>,
    out: Option<&Any<'_>>,
    include_initial: bool,
) -> Object {
    let what = if product { "cumulative_prod" } else { "cumulative_sum" };
    let py = x.py();
    let y = running(x, product, axis.or(Some(0)), dtypes::parse_optional(dtype)?)?;
    if axis.is_none() && y.ndim() > 1 {
        return Err(PyValueError::new_err(format!(
            "For arrays which have more than one dimension ``axis`` argument is required in {what}"
        )));
    }
    if !include_initial {
        return finish(py, what, y, out);
    }
    let node = y.node(py)?;
    let z = on_trace(py, y.trace(), |t| {
        let k = shape::axis(what, axis.unwrap_or(0), t.rank(node))?;
        let mut first = t.shape(node).clone();
        first[k] = 1;
        let first = t.literal(product as u8 as f64, &first, y.dtype)?;
        t.concatenate(&[first, node], k)
    })?;
    finish(py, what, z, out)
}

macro_rules! cumulative_from {
    ($($name:ident $product:literal;)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (x, /, *, axis=None, dtype=None, out=None, include_initial=false))]
        fn $name(
            x: &Any<'_>,
            axis: Option<i64>,
            dtype: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            include_initial: bool,
        ) -> Object {
            cumulative_from(x, $product, axis, dtype, out, include_initial)
        }
    )*};
}

cumulative_from! { cumulative_sum false; cumulative_prod true; }

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        sum: ["sum"], prod: ["prod"], max: ["max", "amax"], min: ["min", "amin"], any: ["any"], all: ["all"],
        argmax: ["argmax"], argmin: ["argmin"], count_nonzero: ["count_nonzero"], ptp: ["ptp"],
        cumsum: ["cumsum"], cumprod: ["cumprod"],
        cumulative_sum: ["cumulative_sum"], cumulative_prod: ["cumulative_prod"],
    });
    Ok(())
}

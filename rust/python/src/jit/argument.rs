//! The leaves of a jitted call's arguments: what of them is part of the key, and where their data lies.
#![allow(unsafe_code)]

use mlgrad_core::plan::Param;
use mlgrad_core::tape::{DType, Shape, Value};
use numpy::PyArrayDescrMethods;
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyType};

use crate::transform::copy_any;
use crate::{convert, dtypes};

/// What a signature says of a leaf.
pub enum Kind {
    /// An array or a NumPy scalar.
    Array { dtype: DType, shape: Shape },
    /// A Python number: traced, and weak in promotions.
    Weak(DType),
    /// Anything else, by equality.
    Static(Py<PyAny>),
}

/// The data of a traced leaf during one call.
pub enum Data<'py> {
    /// A C-contiguous array in native byte order, read in place.
    Lent(Bound<'py, PyUntypedArray>, DType, usize),
    /// A Python number, by its bits.
    Number(u64, DType),
    Owned(Box<(Value, Shape, DType)>),
}

/// A leaf of one call.
pub enum Leaf<'py> {
    Traced(Data<'py>),
    Static(Bound<'py, PyAny>),
}

impl<'py> Leaf<'py> {
    pub fn of(py: Python<'py>, object: &Bound<'py, PyAny>) -> PyResult<Leaf<'py>> {
        let weak = |bits: u64, dtype| Ok(Leaf::Traced(Data::Number(bits, dtype)));
        if object.is_exact_instance_of::<PyFloat>() {
            return weak(object.extract::<f64>()?.to_bits(), DType::F64);
        }
        if let Ok(array) = object.cast::<PyUntypedArray>() {
            convert::refuse_subclass(array)?;
            if let Some(dtype) = plain_dtype(array)
                && array.is_c_contiguous()
            {
                let bytes = array.len() * dtype.size();
                return Ok(Leaf::Traced(Data::Lent(array.clone(), dtype, bytes)));
            }
            return Ok(Leaf::Traced(Data::Owned(Box::new(convert::copy_in(py, array)?))));
        }
        if object.is_exact_instance_of::<PyBool>() {
            return weak(object.extract::<bool>()? as u64, DType::Bool);
        }
        if object.is_exact_instance_of::<PyInt>() {
            // an int that does not fit is static
            return match object.extract::<i64>() {
                Ok(v) => weak(v as u64, DType::I64),
                Err(_) => Ok(Leaf::Static(object.clone())),
            };
        }
        if is_numpy_scalar(object)? {
            return Ok(Leaf::Traced(Data::Owned(Box::new(copy_any(py, object)?))));
        }
        Leaf::key(object)
    }

    /// A leaf that is part of the key. What can change in place would be found equal to itself: it must be hashable.
    pub fn key(object: &Bound<'py, PyAny>) -> PyResult<Leaf<'py>> {
        match object.hash() {
            Ok(_) => Ok(Leaf::Static(object.clone())),
            Err(_) => Err(PyTypeError::new_err(format!(
                "jit: a {} is neither a number nor an array, so that it is part of the key and must be hashable; pass a tuple or \
                 a frozenset instead",
                object.get_type().fully_qualified_name()?
            ))),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Leaf::Static(o) => Kind::Static(o.clone().unbind()),
            Leaf::Traced(Data::Number(_, dtype)) => Kind::Weak(*dtype),
            Leaf::Traced(Data::Owned(owned)) => Kind::Array { dtype: owned.2, shape: owned.1.clone() },
            Leaf::Traced(Data::Lent(a, dtype, _)) => Kind::Array { dtype: *dtype, shape: a.shape().into() },
        }
    }

    /// Whether this leaf fits a signature.
    pub fn is(&self, kind: &Kind) -> PyResult<bool> {
        Ok(match (self, kind) {
            (Leaf::Traced(Data::Lent(a, d, _)), Kind::Array { dtype, shape }) => {
                d == dtype && a.shape() == shape.as_slice()
            }
            (Leaf::Traced(Data::Owned(owned)), Kind::Array { dtype, shape }) => owned.2 == *dtype && owned.1 == *shape,
            (Leaf::Traced(Data::Number(_, d)), Kind::Weak(dtype)) => d == dtype,
            (Leaf::Static(o), Kind::Static(k)) => o.is(k) || o.get_type().is(k.bind(o.py()).get_type()) && o.eq(k)?,
            _ => false,
        })
    }
}

impl Data<'_> {
    /// A value of its own.
    pub fn value(&self, py: Python<'_>) -> PyResult<Value> {
        match self {
            Data::Lent(a, ..) => Ok(convert::copy_in(py, a)?.0),
            Data::Number(bits, _) => Ok(Value::Scalar(*bits)),
            Data::Owned(owned) => Ok(owned.0.clone()),
        }
    }

    pub fn param(&self) -> Param<'_> {
        match self {
            Data::Lent(a, _, bytes) => Param::new(lend(a, *bytes)),
            Data::Number(bits, dtype) => Param::of_number(bits, dtype.size()),
            Data::Owned(owned) => Param::of(&owned.0, mlgrad_core::tape::shape::size(&owned.1) * owned.2.size()),
        }
    }
}

/// The dtype of an array that can be read in place: aligned, in native byte order.
fn plain_dtype(array: &Bound<'_, PyUntypedArray>) -> Option<DType> {
    let descr = array.dtype();
    let plain = array.is_aligned() && descr.is_native_byteorder() != Some(false);
    dtypes::from_descr(&descr).ok().filter(|_| plain)
}

fn is_numpy_scalar(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static GENERIC: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    object.is_instance(GENERIC.import(object.py(), "numpy", "generic")?)
}

/// The elements of a C-contiguous array, in place.
fn lend<'a>(array: &'a Bound<'_, PyUntypedArray>, bytes: usize) -> &'a [u8] {
    if bytes == 0 {
        return &[];
    }
    // SAFETY: the array is C-contiguous with `bytes` bytes of elements, and the reference keeps it alive. Writing to an
    // array in another thread during a call is a race in NumPy too.
    unsafe { std::slice::from_raw_parts((*array.as_array_ptr()).data.cast::<u8>(), bytes) }
}

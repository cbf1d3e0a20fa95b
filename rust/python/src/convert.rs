//! Values over the boundary: Python and NumPy objects onto the tape, computed values out as fresh NumPy arrays.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use mlgrad_core::exec::buffer::Buffer;
use mlgrad_core::numpy::Operand;
use mlgrad_core::tape::{DType, Shape, Value, shape};
use numpy::npyffi::{NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt, PyList, PyTuple, PyType};

use crate::array::{Array, record};
use crate::dtypes;
use crate::error::{OrRaise, raise};
use crate::grave::Buried;
use crate::trace::Trace;

/// From here on a result is handed out without a copy: the array owns the buffer.
const SHARE: usize = 16 << 10;

/// `object` as an operand on `trace`, or `None` where it is nothing that NumPy would compute with.
pub fn try_lift(py: Python<'_>, trace: &Arc<Trace>, object: &Bound<'_, PyAny>) -> PyResult<Option<Operand>> {
    if let Ok(a) = object.cast_exact::<Array>() {
        let a = a.get();
        a.check_trace(trace)?;
        return a.operand(py).map(Some);
    }
    if let Ok(v) = object.cast_exact::<PyFloat>() {
        return Ok(Some(Operand::Float(v.value())));
    }
    if object.is_exact_instance_of::<PyBool>() {
        return Ok(Some(Operand::Bool(object.is_truthy()?)));
    }
    if object.is_exact_instance_of::<PyInt>() {
        return match object.extract::<i64>() {
            Ok(v) => Ok(Some(Operand::Int(v))),
            Err(_) => Err(PyOverflowError::new_err(format!(
                "the Python int {} does not fit in int64; write it as a float",
                object.str()?
            ))),
        };
    }
    if object.is_exact_instance_of::<PyComplex>() {
        return Err(PyTypeError::new_err(
            "complex numbers are not supported in traced operations; compute with real and imaginary parts",
        ));
    }
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        refuse_subclass(array)?;
        let id = trace.constant(py, array)?;
        return Ok(Some(Operand::Node { id, weak: false }));
    }
    if let Ok(v) = object.cast::<PyFloat>() {
        // np.float64
        let bits = v.value().to_bits();
        let id = record(py, trace, |s| s.tape.param(Value::Scalar(bits), Shape::new(), DType::F64))?;
        return Ok(Some(Operand::Node { id, weak: false }));
    }
    if object.is_instance(numpy_class(py, "generic")?)? {
        let array = as_ndarray(object)?;
        let (value, shape, dtype) = copy_in(py, &array)?;
        let id = record(py, trace, |s| s.tape.param(value, shape, dtype))?;
        return Ok(Some(Operand::Node { id, weak: false }));
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let node = crate::build::array(py, trace, object)?;
        return Ok(Some(Operand::Node { id: node, weak: false }));
    }
    if object.hasattr(intern!(py, "__array__"))? {
        return try_lift(py, trace, as_ndarray(object)?.as_any());
    }
    if object.is_instance_of::<PyInt>() || object.hasattr(intern!(py, "__index__"))? {
        // subclasses of int, such as IntEnum
        let plain = object.call_method0(intern!(py, "__index__"))?;
        return Ok(Some(Operand::Int(plain.extract()?)));
    }
    Ok(None)
}

/// `object` as an operand on `trace`; a `TypeError` where it is nothing that NumPy would compute with.
pub fn lift(py: Python<'_>, trace: &Arc<Trace>, object: &Bound<'_, PyAny>) -> PyResult<Operand> {
    match try_lift(py, trace, object)? {
        Some(x) => Ok(x),
        None => Err(PyTypeError::new_err(format!(
            "cannot compute with a {} in a traced operation; use a number, a NumPy array or an mlgrad.Array",
            object.get_type().fully_qualified_name()?
        ))),
    }
}

fn numpy_class<'py>(py: Python<'py>, name: &'static str) -> PyResult<&'py Bound<'py, PyType>> {
    static GENERIC: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static NDARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match name {
        "generic" => GENERIC.import(py, "numpy", name),
        _ => NDARRAY.import(py, "numpy", name),
    }
}

/// Whether this is an ndarray, and of no subclass.
pub fn is_ndarray(object: &Bound<'_, PyAny>) -> bool {
    numpy_class(object.py(), "ndarray").is_ok_and(|class| object.get_type_ptr() == class.as_type_ptr())
}

/// Whether the elements are floating-point numbers.
pub fn is_inexact(array: &Bound<'_, PyUntypedArray>) -> bool {
    matches!(array.dtype().kind(), b'f' | b'c')
}

/// A subclass that changes what the elements mean (masked arrays, `np.matrix`) would be computed with wrongly.
pub fn refuse_subclass(array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
    let py = array.py();
    if is_ndarray(array) {
        return Ok(());
    }
    let class = array.get_type();
    if array.hasattr(intern!(py, "mask"))? || class.name()? == "matrix" {
        return Err(PyTypeError::new_err(format!(
            "a {} is not supported in traced operations; pass a plain ndarray (np.asarray(a), and np.where with the mask)",
            class.fully_qualified_name()?
        )));
    }
    Ok(())
}

/// `np.asarray(object)`.
pub fn as_ndarray<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let f = ASARRAY.get_or_try_init(py, || PyResult::Ok(py.import("numpy")?.getattr("asarray")?.unbind()))?;
    Ok(f.bind(py).call1((object,))?.cast_into::<PyUntypedArray>()?)
}

/// The contents of an array, in C order and native byte order.
pub fn copy_in(py: Python<'_>, array: &Bound<'_, PyUntypedArray>) -> PyResult<(Value, Shape, DType)> {
    let descr = array.dtype();
    let dtype = dtypes::from_descr(&descr)?;
    let plain = array.is_c_contiguous() && array.is_aligned() && descr.is_native_byteorder() != Some(false);
    if !plain {
        let kwargs = pyo3::types::PyDict::new(py);
        kwargs.set_item(intern!(py, "dtype"), dtypes::descr(py, dtype))?;
        kwargs.set_item(intern!(py, "order"), intern!(py, "C"))?;
        let tidy = py.import("numpy")?.call_method(intern!(py, "array"), (array,), Some(&kwargs))?;
        return copy_plain(py, tidy.cast::<PyUntypedArray>()?, dtype);
    }
    copy_plain(py, array, dtype)
}

fn copy_plain(py: Python<'_>, array: &Bound<'_, PyUntypedArray>, dtype: DType) -> PyResult<(Value, Shape, DType)> {
    let shape: Shape = array.shape().into();
    let bytes = shape::size(&shape) * dtype.size();
    // SAFETY: a NumPy array; its header outlives the borrow.
    let data = unsafe { (*array.as_array_ptr()).data.cast::<u8>() };
    if shape.is_empty() && bytes <= 8 {
        let mut word = [0u8; 8];
        // SAFETY: a 0-dimensional array has one element of `bytes` bytes.
        unsafe { std::ptr::copy_nonoverlapping(data, word.as_mut_ptr(), bytes) };
        return Ok((Value::Scalar(u64::from_le_bytes(word)), shape, dtype));
    }
    let mut buffer = Buffer::new(bytes).or_raise(py)?;
    let target: &mut [u8] = buffer.as_mut_slice();
    // SAFETY: the array is C-contiguous, so its elements are `bytes` bytes from `data`; the buffer is ours alone.
    unsafe { std::ptr::copy_nonoverlapping(data, target.as_mut_ptr(), bytes) };
    Ok((Value::Array(Arc::new(buffer)), shape, dtype))
}

/// Arguments of at least this many bytes are read in place.
const LENT: usize = 1 << 20;

/// An argument that is read in place: it cannot be written as long as this lives.
pub struct Loan(Option<Py<PyUntypedArray>>);

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(array) = self.0.take() {
            // SAFETY: a NumPy array, whose flag was set when it was lent.
            Python::attach(|py| unsafe { (*array.bind(py).as_array_ptr()).flags |= NPY_ARRAY_WRITEABLE });
        }
    }
}

/// A large argument of a call, read in place rather than copied: until the loan ends, which has to outlive the value, it is
/// read-only. None where it is not large, or others might write its memory.
pub fn lend(array: &Bound<'_, PyAny>) -> PyResult<Option<(Value, Shape, DType, Loan)>> {
    let Ok(array) = array.cast::<PyUntypedArray>() else { return Ok(None) };
    let descr = array.dtype();
    let bytes = array.len() * descr.itemsize();
    if bytes < LENT || !is_ndarray(array) || !array.is_c_contiguous() || !array.is_aligned() {
        return Ok(None);
    }
    let Some(dtype) = dtypes::from_descr(&descr).ok().filter(|_| descr.is_native_byteorder() != Some(false)) else {
        return Ok(None);
    };
    let header = array.as_array_ptr();
    // SAFETY: a NumPy array; what it is a view of is an object or null.
    let (flags, data, alone) = unsafe {
        let (flags, base) = ((*header).flags, (*header).base);
        // nobody but the array refers to what it is a view of: an array such as linspace leaves, or a buffer of ours
        let alone = !base.is_null() && pyo3::ffi::Py_REFCNT(base) == 1 && {
            let base = Borrowed::from_ptr(array.py(), base);
            let owns = |a: Borrowed<'_, '_, PyUntypedArray>| (*a.as_array_ptr()).flags & NPY_ARRAY_OWNDATA != 0;
            base.cast_exact::<Storage>().is_ok() || base.cast::<PyUntypedArray>().is_ok_and(owns)
        };
        (flags, (*header).data.cast::<u8>(), alone)
    };
    let Some(data) = NonNull::new(data).filter(|_| flags & NPY_ARRAY_OWNDATA != 0 || alone) else { return Ok(None) };
    let loan = Loan((flags & NPY_ARRAY_WRITEABLE != 0).then(|| array.clone().unbind()));
    // SAFETY: as above, with the interpreter held.
    unsafe { (*header).flags &= !NPY_ARRAY_WRITEABLE };
    let owner = Box::new(Buried::new(array.clone().unbind()));
    // SAFETY: contiguous and aligned; the owner keeps it alive, and the loan keeps everybody from writing it.
    let buffer = unsafe { Buffer::lent(data, bytes, owner) };
    Ok(Some((Value::Array(Arc::new(buffer)), array.shape().into(), dtype, loan)))
}

/// Keeps a buffer alive while arrays look into it.
#[pyclass(frozen, module = "mlgrad")]
struct Storage(#[expect(dead_code, reason = "held for its drop")] Arc<Buffer>);

/// A value as a fresh, writable NumPy array that shares memory with nothing; a NumPy scalar for the shape ().
pub fn export(py: Python<'_>, value: Value, shape: &[usize], dtype: DType) -> PyResult<Py<PyAny>> {
    match value {
        Value::Scalar(bits) => export_bytes(py, &bits.to_le_bytes(), shape, dtype),
        Value::Array(buffer) => {
            let bytes = shape::size(shape) * dtype.size();
            let share = !shape.is_empty()
                && (SHARE..=buffer.len_bytes()).contains(&bytes)
                && Arc::strong_count(&buffer) == 1
                && !buffer.is_lent();
            if share {
                return share_buffer(py, buffer, shape, dtype);
            }
            export_bytes(py, buffer.as_slice(), shape, dtype)
        }
    }
}

/// The same of elements that lie somewhere.
pub fn export_bytes(py: Python<'_>, from: &[u8], shape: &[usize], dtype: DType) -> PyResult<Py<PyAny>> {
    let bytes = shape::size(shape) * dtype.size();
    if from.len() < bytes {
        return Err(raise(py, mlgrad_core::Error::Internal("a value shorter than its shape".into())));
    }
    if shape.is_empty() {
        let descr = dtypes::descr(py, dtype);
        // SAFETY: there is one element of this dtype; NumPy copies it. The result is a new reference or null.
        return unsafe {
            let scalar =
                PY_ARRAY_API.PyArray_Scalar(py, from.as_ptr().cast_mut().cast(), descr.as_dtype_ptr(), null_mut());
            Ok(Bound::from_owned_ptr_or_err(py, scalar)?.unbind())
        };
    }
    // SAFETY: without data NumPy allocates memory itself.
    let array = unsafe { new_array(py, shape, dtype, null_mut())? };
    // SAFETY: fresh C-contiguous memory of exactly `bytes` bytes, and a source of at least as many.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), (*array.as_array_ptr()).data.cast::<u8>(), bytes) };
    Ok(array.into_any().unbind())
}

/// A buffer that nobody else has, at least as long as the shape says, as a writable array.
fn share_buffer(py: Python<'_>, buffer: Arc<Buffer>, shape: &[usize], dtype: DType) -> PyResult<Py<PyAny>> {
    // SAFETY: 64-byte aligned memory that nobody else refers to and that the base set below keeps alive.
    let array = unsafe { new_array(py, shape, dtype, buffer.as_mut_ptr().cast())? };
    let owner = Py::new(py, Storage(buffer))?;
    // SAFETY: sets the base of an array that has none; the reference to the owner is stolen.
    let rc = unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_array_ptr(), owner.into_ptr()) };
    if rc < 0 {
        return Err(PyErr::fetch(py));
    }
    Ok(array.into_any().unbind())
}

/// A C-contiguous, writable array with elements at `data`, or uninitialised ones of its own.
///
/// # Safety
/// `data` is null, or has the elements, aligned and to be written by nobody else, as long as the array lives.
unsafe fn new_array<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: DType,
    data: *mut c_void,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let mut dims: smallvec::SmallVec<[npy_intp; 4]> = shape.iter().map(|&d| d as npy_intp).collect();
    // SAFETY: dims has as many lengths as we say; the data are the caller's; the descriptor's reference is stolen.
    unsafe {
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            numpy_class(py, "ndarray")?.as_type_ptr(),
            dtypes::descr(py, dtype).into_dtype_ptr(),
            dims.len() as i32,
            dims.as_mut_ptr(),
            null_mut(),
            data,
            if data.is_null() { 0 } else { NPY_ARRAY_WRITEABLE },
            null_mut(),
        );
        Ok(Bound::from_owned_ptr_or_err(py, array)?.cast_into_unchecked::<PyUntypedArray>())
    }
}

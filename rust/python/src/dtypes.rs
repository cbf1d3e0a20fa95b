//! NumPy's dtypes as the core's, and back.

use mlgrad_core::tape::DType;
use numpy::{Complex32, Complex64, PyArrayDescr, PyArrayDescrMethods, dtype};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The core's dtype of a descriptor of either byte order; others are refused by name.
pub fn from_descr(descr: &Bound<'_, PyArrayDescr>) -> PyResult<DType> {
    Ok(match (descr.kind(), descr.itemsize()) {
        (b'b', 1) => DType::Bool,
        (b'u', 1) => DType::U8,
        (b'i', 4) => DType::I32,
        (b'i', 8) => DType::I64,
        (b'f', 4) => DType::F32,
        (b'f', 8) => DType::F64,
        (b'c', 8) => DType::C64,
        (b'c', 16) => DType::C128,
        (kind, _) => {
            let remedy = match kind {
                b'f' => "convert it with .astype(np.float32) or .astype(np.float64)",
                b'i' | b'u' => "convert it with .astype(np.int64)",
                _ => "mlgrad computes with bool, uint8, int32, int64, float32 and float64",
            };
            return Err(PyTypeError::new_err(format!("dtype {} is not supported; {remedy}", descr.str()?)));
        }
    })
}

/// What `dtype=` may be: a descriptor, a class, a name.
pub fn parse(object: &Bound<'_, PyAny>) -> PyResult<DType> {
    from_descr(&PyArrayDescr::new(object.py(), object)?)
}

/// The same where `None` means that it is not given.
pub fn parse_optional(object: Option<&Bound<'_, PyAny>>) -> PyResult<Option<DType>> {
    object.filter(|o| !o.is_none()).map(parse).transpose()
}

pub fn descr(py: Python<'_>, d: DType) -> Bound<'_, PyArrayDescr> {
    match d {
        DType::Bool => dtype::<bool>(py),
        DType::U8 => dtype::<u8>(py),
        DType::I32 => dtype::<i32>(py),
        DType::I64 => dtype::<i64>(py),
        DType::F32 => dtype::<f32>(py),
        DType::F64 => dtype::<f64>(py),
        DType::C64 => dtype::<Complex32>(py),
        DType::C128 => dtype::<Complex64>(py),
    }
}

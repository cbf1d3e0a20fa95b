//! The Python face of an Array: ndarray's operators, attributes and methods, each handed on to where it is done.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use mlgrad_core::tape::shape;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyComplex, PyDict, PyTuple, PyType};

use crate::args::{Any, element_order, memory_order};
use crate::array::Array;
use crate::function::{create, linear, numeric, order, reduce, shaping};
use crate::{dtypes, function, index, leave, tape_api, ufunc};

type Object = PyResult<Py<PyAny>>;

/// Attributes of ndarray that a traced array cannot have, with what to do instead.
const ABSENT: &[(&str, &str)] = &[
    ("data", "a traced array has no memory"),
    ("ctypes", "a traced array has no memory"),
    ("base", "use np.shares_memory on NumPy arrays outside the traced function"),
    ("flags", "a traced array has no memory layout"),
    ("tobytes", "take the value on purpose with mlgrad.stop_gradient(x)"),
    ("tofile", "take the value on purpose with mlgrad.stop_gradient(x)"),
    ("dump", "take the value on purpose with mlgrad.stop_gradient(x)"),
    ("dumps", "take the value on purpose with mlgrad.stop_gradient(x)"),
    ("byteswap", "convert before the array is traced"),
    ("view", "use x.astype(dtype)"),
    ("setflags", "a traced array has no memory"),
    ("resize", "use np.resize(x, shape), or np.pad and slices"),
    ("partition", "use x.sort()"),
    ("argpartition", "use x.argsort()"),
    ("choose", "use np.where or np.select"),
    ("compress", "index with the bool array: x[mask]"),
    ("put", "assign through an index: x[indices] = v"),
    ("getfield", "structured arrays cannot be traced"),
    ("setfield", "structured arrays cannot be traced"),
    ("device", "everything is on the CPU"),
    ("to_device", "everything is on the CPU"),
];

/// The error for an attribute that NumPy lets a program set.
fn not_set(name: &str, remedy: &str) -> PyErr {
    PyAttributeError::new_err(format!("{name} of a traced array cannot be set; {remedy}"))
}

#[pymethods]
impl Array {
    // ---- attributes

    #[getter(shape)]
    fn get_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.shape.iter())
    }

    #[setter(shape)]
    fn set_shape(&self, _shape: &Any<'_>) -> PyResult<()> {
        Err(not_set("shape", "write y = y.reshape(shape)"))
    }

    #[setter(dtype)]
    fn set_dtype(&self, _dtype: &Any<'_>) -> PyResult<()> {
        Err(not_set("dtype", "write y = y.astype(dtype) for other numbers of the same values"))
    }

    #[setter(strides)]
    fn set_strides(&self, _strides: &Any<'_>) -> PyResult<()> {
        Err(not_set("strides", "take a view with slices, np.transpose or np.broadcast_to"))
    }

    #[setter(flat)]
    fn set_flat(&self, _values: &Any<'_>) -> PyResult<()> {
        Err(not_set("flat", "write y[...] = np.reshape(values, y.shape), or y[...] = value"))
    }

    #[setter(real)]
    fn set_real(&self, _values: &Any<'_>) -> PyResult<()> {
        Err(not_set("real", "write y[...] = values"))
    }

    #[getter(dtype)]
    fn get_dtype<'py>(&self, py: Python<'py>) -> Any<'py> {
        dtypes::descr(py, self.dtype).into_any()
    }

    #[getter(ndim)]
    fn get_ndim(&self) -> usize {
        self.ndim()
    }

    #[getter(size)]
    fn get_size(&self) -> usize {
        self.size()
    }

    #[getter]
    fn itemsize(&self) -> usize {
        self.dtype.size()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.size() * self.dtype.size()
    }

    /// In bytes, as NumPy would have them.
    #[getter(strides)]
    fn get_strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let item = self.dtype.size() as isize;
        PyTuple::new(py, self.strides().iter().map(|s| s * item))
    }

    #[getter(T)]
    fn transposed(&self, py: Python<'_>) -> PyResult<Array> {
        shaping::reversed(py, self)
    }

    #[getter(mT)]
    fn matrix_transposed(&self, py: Python<'_>) -> PyResult<Array> {
        shaping::matrix_transposed(py, self)
    }

    /// An iterator over the elements in C order.
    #[getter]
    fn flat(&self, py: Python<'_>) -> PyResult<Rows> {
        Ok(Rows::new(Py::new(py, shaping::flatten(py, self)?)?))
    }

    #[getter]
    fn real(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[getter]
    fn imag(&self, py: Python<'_>) -> PyResult<Array> {
        Ok(create::filled(py, self.trace(), &self.shape, 0.0, self.dtype)?.read_only())
    }

    #[classattr]
    fn __array_priority__() -> f64 {
        1000.0
    }

    fn __getattr__(&self, name: &str) -> Object {
        Err(PyAttributeError::new_err(match ABSENT.iter().find(|(n, _)| *n == name) {
            Some((_, remedy)) => format!("a traced mlgrad.Array has no attribute '{name}': {remedy}"),
            None => format!(
                "'mlgrad.Array' object has no attribute '{name}'; dir(x) lists those of numpy.ndarray that it has"
            ),
        }))
    }

    // ---- NumPy's protocols

    #[pyo3(signature = (ufunc, method, *inputs, **kwargs))]
    fn __array_ufunc__<'py>(
        &self,
        py: Python<'py>,
        ufunc: &Any<'py>,
        method: &str,
        inputs: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> Object {
        ufunc::array_ufunc(py, ufunc, method, inputs, kwargs)
    }

    fn __array_function__<'py>(
        &self,
        py: Python<'py>,
        func: &Any<'py>,
        _types: &Any<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Object {
        function::array_function(py, func, args, kwargs)
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(&self, py: Python<'py>, dtype: Option<&Any<'py>>, copy: Option<bool>) -> PyResult<Any<'py>> {
        // what leaves is fresh in any case
        let _ = copy;
        leave::as_array(py, self, dtype)
    }

    // ---- leaving the tape

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        leave::truth(py, self)
    }

    fn __float__(&self, py: Python<'_>) -> PyResult<f64> {
        leave::float(py, self, "float(x)")
    }

    fn __int__(&self, py: Python<'_>) -> PyResult<i64> {
        leave::integer(py, self, "int(x)")
    }

    fn __index__(&self, py: Python<'_>) -> PyResult<i64> {
        if !self.dtype.is_integer() || self.ndim() != 0 {
            return Err(PyTypeError::new_err(format!(
                "only integer scalar arrays can be converted to a scalar index, got dtype {} and shape {}",
                self.dtype,
                shape::show(&self.shape)
            )));
        }
        leave::integer(py, self, "an index")
    }

    fn __complex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyComplex>> {
        Ok(PyComplex::from_doubles(py, leave::float(py, self, "complex(x)")?, 0.0))
    }

    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        leave::as_array(py, self, None)?.call_method0("tolist")
    }

    // ---- variables of a Tape

    /// The value as a NumPy array or scalar, on a `Tape`.
    #[getter(value)]
    fn get_value(&self, py: Python<'_>) -> Object {
        if self.trace().access().gradients.is_empty() {
            leave::check_leaving(py, self, "x.value")?;
        }
        tape_api::value(py, self.trace(), self.node(py)?)
    }

    /// What `backward` has accumulated for this variable of a `Tape`; None before.
    #[getter(grad)]
    fn get_grad(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        tape_api::gradient(py, self.trace(), self.node(py)?)
    }

    /// Adds the derivative of this value to `.grad` of every variable of its `Tape`.
    #[pyo3(signature = (gradient=None))]
    fn backward(&self, py: Python<'_>, gradient: Option<&Any<'_>>) -> PyResult<()> {
        tape_api::backward(py, self.trace(), self.node(py)?, gradient)
    }

    /// Forgets the gradient of this variable of a `Tape`.
    fn zero_grad(&self, py: Python<'_>) -> PyResult<()> {
        tape_api::zero_gradient(self.trace(), self.node(py)?);
        Ok(())
    }

    #[pyo3(signature = (*args))]
    fn item(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> Object {
        match args.len() {
            0 => leave::item(py, self),
            1 => {
                let key = args.get_item(0)?;
                if key.is_instance_of::<PyTuple>() {
                    return leave::item(py, &index::get(py, self, &key)?);
                }
                leave::item(py, &index::get(py, &shaping::flatten(py, self)?, &key)?)
            }
            _ => leave::item(py, &index::get(py, self, args.as_any())?),
        }
    }

    fn __reduce__(&self) -> Object {
        Err(PyTypeError::new_err(
            "an mlgrad.Array is part of a recording and cannot be pickled; return it from the transformed function and pickle the \
             NumPy array",
        ))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        leave::repr(py, self)
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        leave::str(py, self)
    }

    fn __format__(&self, py: Python<'_>, spec: &str) -> PyResult<String> {
        leave::format(py, self, spec)
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Array> {
        shaping::copied(py, self, "K")
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Any<'_>) -> PyResult<Array> {
        shaping::copied(py, self, "K")
    }

    // ---- a container

    fn __len__(&self) -> PyResult<usize> {
        self.shape.first().copied().ok_or_else(|| PyTypeError::new_err("len() of unsized object"))
    }

    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Rows> {
        if slf.get().ndim() == 0 {
            return Err(PyTypeError::new_err("iteration over a 0-d array"));
        }
        Ok(Rows::new(slf.unbind()))
    }

    fn __reversed__(slf: Bound<'_, Self>) -> PyResult<Rows> {
        let (py, a) = (slf.py(), slf.get());
        let Some(&n) = a.shape.first() else {
            return Err(PyTypeError::new_err("iteration over a 0-d array"));
        };
        let n = n as isize;
        let backwards = index::get(py, a, pyo3::types::PySlice::new(py, n - 1, -n - 1, -1).as_any())?;
        Ok(Rows::new(Py::new(py, backwards)?))
    }

    fn __contains__(&self, py: Python<'_>, item: &Any<'_>) -> PyResult<bool> {
        let equal = ufunc::operator(py, "equal", self, item, false)?;
        match equal.bind(py).cast_exact::<Array>() {
            Ok(e) => leave::truth(py, &reduce::whole(py, reduce::Reduction::Any, e.get())?),
            Err(_) => Ok(false),
        }
    }

    fn __getitem__(&self, py: Python<'_>, key: &Any<'_>) -> PyResult<Array> {
        index::get(py, self, key)
    }

    fn __setitem__(&self, py: Python<'_>, key: &Any<'_>, value: &Any<'_>) -> PyResult<()> {
        index::set(py, self, key, value, false)
    }

    // ---- operators

    fn __add__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "add", self, other, false)
    }
    fn __radd__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "add", self, other, true)
    }
    fn __sub__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "subtract", self, other, false)
    }
    fn __rsub__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "subtract", self, other, true)
    }
    fn __mul__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "multiply", self, other, false)
    }
    fn __rmul__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "multiply", self, other, true)
    }
    fn __truediv__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "divide", self, other, false)
    }
    fn __rtruediv__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "divide", self, other, true)
    }
    fn __floordiv__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "floor_divide", self, other, false)
    }
    fn __rfloordiv__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "floor_divide", self, other, true)
    }
    fn __mod__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "remainder", self, other, false)
    }
    fn __rmod__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "remainder", self, other, true)
    }
    fn __divmod__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "divmod", self, other, false)
    }
    fn __rdivmod__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "divmod", self, other, true)
    }
    fn __pow__(&self, py: Python<'_>, other: &Any<'_>, modulo: &Any<'_>) -> Object {
        if !modulo.is_none() {
            return Err(PyTypeError::new_err(
                "pow() with a third argument is not supported for arrays; use (x ** y) % z",
            ));
        }
        ufunc::operator(py, "power", self, other, false)
    }
    fn __rpow__(&self, py: Python<'_>, other: &Any<'_>, modulo: &Any<'_>) -> Object {
        if !modulo.is_none() {
            return Err(PyTypeError::new_err(
                "pow() with a third argument is not supported for arrays; use (x ** y) % z",
            ));
        }
        ufunc::operator(py, "power", self, other, true)
    }
    fn __matmul__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        linear::operator(py, self, other, false)
    }
    fn __rmatmul__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        linear::operator(py, self, other, true)
    }
    fn __and__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "bitwise_and", self, other, false)
    }
    fn __rand__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "bitwise_and", self, other, true)
    }
    fn __or__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "bitwise_or", self, other, false)
    }
    fn __ror__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "bitwise_or", self, other, true)
    }
    fn __xor__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "bitwise_xor", self, other, false)
    }
    fn __rxor__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "bitwise_xor", self, other, true)
    }
    fn __lshift__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "left_shift", self, other, false)
    }
    fn __rlshift__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "left_shift", self, other, true)
    }
    fn __rshift__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "right_shift", self, other, false)
    }
    fn __rrshift__(&self, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::operator(py, "right_shift", self, other, true)
    }

    fn __richcmp__(&self, py: Python<'_>, other: &Any<'_>, op: CompareOp) -> Object {
        let name = match op {
            CompareOp::Lt => "less",
            CompareOp::Le => "less_equal",
            CompareOp::Eq => "equal",
            CompareOp::Ne => "not_equal",
            CompareOp::Gt => "greater",
            CompareOp::Ge => "greater_equal",
        };
        ufunc::operator(py, name, self, other, false)
    }

    fn __neg__(&self, py: Python<'_>) -> PyResult<Array> {
        ufunc::unary(py, "negative", self)
    }
    fn __pos__(&self, py: Python<'_>) -> PyResult<Array> {
        ufunc::unary(py, "positive", self)
    }
    fn __abs__(&self, py: Python<'_>) -> PyResult<Array> {
        ufunc::unary(py, "absolute", self)
    }
    fn __invert__(&self, py: Python<'_>) -> PyResult<Array> {
        ufunc::unary(py, "invert", self)
    }
    #[pyo3(signature = (ndigits=None))]
    fn __round__(&self, py: Python<'_>, ndigits: Option<i64>) -> PyResult<Array> {
        numeric::rounded(py, self, ndigits.unwrap_or(0))
    }

    // The in-place operators, for `register` to put in their slots: of a scalar they give `NotImplemented`, upon which Python
    // rebinds the name; PyO3's own slots cannot.

    fn _in_place_add(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "add", slf, other)
    }
    fn _in_place_sub(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "subtract", slf, other)
    }
    fn _in_place_mul(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "multiply", slf, other)
    }
    fn _in_place_truediv(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "divide", slf, other)
    }
    fn _in_place_floordiv(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "floor_divide", slf, other)
    }
    fn _in_place_mod(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "remainder", slf, other)
    }
    fn _in_place_pow(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "power", slf, other)
    }
    fn _in_place_matmul(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        linear::in_place(py, slf, other)
    }
    fn _in_place_and(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "bitwise_and", slf, other)
    }
    fn _in_place_or(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "bitwise_or", slf, other)
    }
    fn _in_place_xor(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "bitwise_xor", slf, other)
    }
    fn _in_place_lshift(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "left_shift", slf, other)
    }
    fn _in_place_rshift(slf: &Bound<'_, Self>, py: Python<'_>, other: &Any<'_>) -> Object {
        ufunc::in_place(py, "right_shift", slf, other)
    }

    // ---- methods

    #[pyo3(signature = (*args, **kwargs))]
    fn sum(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("sum", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn mean(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("mean", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn prod(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("prod", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn max(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("max", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn min(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("min", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn var(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("var", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn std(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("std", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn any(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("any", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn all(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("all", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn argmax(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("argmax", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn argmin(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("argmin", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn argsort(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("argsort", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn cumsum(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("cumsum", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn cumprod(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("cumprod", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn dot(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("dot", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn ravel(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("ravel", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn swapaxes(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("swapaxes", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn squeeze(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("squeeze", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn clip(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("clip", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn round(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("round", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn repeat(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("repeat", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn take(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("take", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn diagonal(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("diagonal", slf, args, kwargs)
    }
    #[pyo3(name = "trace", signature = (*args, **kwargs))]
    fn matrix_trace(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("trace", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn conj(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("conj", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn conjugate(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("conjugate", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn nonzero(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("nonzero", slf, args, kwargs)
    }
    #[pyo3(signature = (*args, **kwargs))]
    fn searchsorted(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Object {
        function::method("searchsorted", slf, args, kwargs)
    }

    #[pyo3(signature = (*shape, order=None, copy=None))]
    fn reshape(
        &self,
        py: Python<'_>,
        shape: &Bound<'_, PyTuple>,
        order: Option<&str>,
        copy: Option<bool>,
    ) -> PyResult<Array> {
        element_order("reshape", self, order)?;
        if copy == Some(true) {
            return shaping::reshape_method(py, &shaping::copied(py, self, "C")?, shape);
        }
        shaping::reshape_method(py, self, shape)
    }

    #[pyo3(signature = (*axes))]
    fn transpose(&self, py: Python<'_>, axes: &Bound<'_, PyTuple>) -> PyResult<Array> {
        shaping::transpose_method(py, self, axes)
    }

    #[pyo3(signature = (order=None))]
    fn flatten(&self, py: Python<'_>, order: Option<&str>) -> PyResult<Array> {
        element_order("flatten", self, order)?;
        shaping::flatten(py, self)
    }

    #[pyo3(signature = (dtype, order=None, casting="unsafe", subok=true, copy=true))]
    fn astype(
        slf: &Bound<'_, Self>,
        dtype: &Any<'_>,
        order: Option<&str>,
        casting: &str,
        subok: bool,
        copy: bool,
    ) -> PyResult<Py<Array>> {
        let _ = subok;
        shaping::astype(slf, dtype, order, casting, copy)
    }

    #[pyo3(signature = (order="C"))]
    fn copy(&self, py: Python<'_>, order: &str) -> PyResult<Array> {
        memory_order("copy", Some(order))?;
        shaping::copied(py, self, order)
    }

    fn fill(&self, py: Python<'_>, value: &Any<'_>) -> PyResult<()> {
        index::set(py, self, pyo3::types::PyEllipsis::get(py).as_any(), value, false)
    }

    #[pyo3(signature = (axis=-1, kind=None, order=None, *, stable=None), text_signature = "($self, axis=-1, kind=None, order=None, *, stable=None)")]
    fn sort(
        &self,
        py: Python<'_>,
        axis: i64,
        kind: Option<&Any<'_>>,
        order: Option<&Any<'_>>,
        stable: Option<&Any<'_>>,
    ) -> PyResult<()> {
        // every kind of sort is a stable one here
        let _ = (kind, stable);
        crate::args::refuse("sort", &[("order", order)])?;
        order::sort_in_place(py, self, axis)
    }
}

/// Adds the class, and puts the in-place operators into their slots.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Array>()?;
    let class: Bound<'_, PyType> = m.py().get_type::<Array>();
    for name in IN_PLACE {
        let method = format!("_in_place_{name}");
        class.setattr(format!("__i{name}__"), class.getattr(method.as_str())?)?;
        class.delattr(method)?;
    }
    Ok(())
}

const IN_PLACE: [&str; 13] =
    ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"];

/// An iterator over the first axis.
#[pyclass(frozen, module = "mlgrad")]
pub struct Rows {
    array: Py<Array>,
    next: AtomicI64,
}

impl Rows {
    fn new(array: Py<Array>) -> Rows {
        Rows { array, next: AtomicI64::new(0) }
    }
}

#[pymethods]
impl Rows {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Array>> {
        let k = self.next.fetch_add(1, Relaxed);
        let a = self.array.get();
        match a.shape.first() {
            Some(&n) if (k as u64) < n as u64 => index::row(py, a, k).map(Some),
            _ => Ok(None),
        }
    }

    /// `x.flat[k]`
    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.array.bind(py).get_item(key)
    }

    fn __setitem__(&self, _key: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("x.flat of an mlgrad.Array is read only; write with np.put(x, k, v)"))
    }

    fn __length_hint__(&self) -> usize {
        let n = self.array.get().shape.first().copied().unwrap_or(0);
        n.saturating_sub(self.next.load(Relaxed).max(0) as usize)
    }
}

//! Parts of trees: the paths of leaves, and trees in which `None` stands for whole parts.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::tree::{Tree, registered};

impl Tree {
    /// How each leaf is reached, as Python would write it: `[0]['w'].bias`.
    pub fn paths(&self, py: Python<'_>) -> Vec<String> {
        let mut out = Vec::new();
        self.add_paths(py, &mut String::new(), &mut out);
        out
    }

    fn add_paths(&self, py: Python<'_>, path: &mut String, out: &mut Vec<String>) {
        if let Tree::Leaf = self {
            out.push(path.clone());
        }
        for (k, part) in self.parts().unwrap_or(&[]).iter().enumerate() {
            let end = path.len();
            path.push_str(&self.step(py, k));
            part.add_paths(py, path, out);
            path.truncate(end);
        }
    }

    /// How part `k` is reached from here.
    fn step(&self, py: Python<'_>, k: usize) -> String {
        let repr = |key: &Py<PyAny>| key.bind(py).repr().map_or_else(|_| "?".into(), |r| r.to_string());
        match self {
            Tree::Dict(keys, _) => format!("[{}]", repr(&keys[k])),
            Tree::Dataclass(_, names, _) => format!(".{}", names[k].bind(py)),
            _ => format!("[{k}]"),
        }
    }

    /// What `object`, a tree of this structure in which `None` may stand for any part, has for each leaf. Where it does not
    /// fit, the path of the misfit and what is there.
    pub fn parts_of<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        out: &mut Vec<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Result<(), (String, String)>> {
        self.take_parts(object, &mut String::new(), out)
    }

    fn take_parts<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        path: &mut String,
        out: &mut Vec<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Result<(), (String, String)>> {
        let py = object.py();
        if object.is_none() {
            out.extend((0..self.leaf_count()).map(|_| None));
            return Ok(Ok(()));
        }
        let misfit =
            |path: &str, got: String| Ok(Err((path.to_string(), format!("expected {}, got {got}", self.show(py)))));
        let class = object.get_type().name()?.to_string();
        let values: Vec<Bound<'py, PyAny>> = match self {
            Tree::Leaf => {
                out.push(Some(object.clone()));
                return Ok(Ok(()));
            }
            Tree::None => return misfit(path, format!("a {class}")),
            Tree::Tuple(_) | Tree::List(_) | Tree::Named(..) => {
                if !(object.is_instance_of::<PyTuple>() || object.is_instance_of::<PyList>()) {
                    return misfit(path, format!("a {class}"));
                }
                object.try_iter()?.collect::<PyResult<_>>()?
            }
            Tree::Dict(keys, _) => {
                let Ok(d) = object.cast::<PyDict>() else { return misfit(path, format!("a {class}")) };
                let mut values = Vec::with_capacity(keys.len());
                for key in keys {
                    match d.get_item(key)? {
                        Some(v) => values.push(v),
                        None => return misfit(path, format!("a dict without {}", key.bind(py).repr()?)),
                    }
                }
                if d.len() != keys.len() {
                    return misfit(path, format!("a dict of {} entries", d.len()));
                }
                values
            }
            Tree::Dataclass(of, names, _) => {
                if !object.is_instance(of.bind(py))? {
                    return misfit(path, format!("a {class}"));
                }
                names
                    .iter()
                    .map(|n| object.getattr(n.bind(py).cast::<pyo3::types::PyString>()?))
                    .collect::<PyResult<_>>()?
            }
            Tree::Custom(of, ..) => {
                let Some((flatten, _)) = registered(&object.get_type()).filter(|_| object.get_type().is(of)) else {
                    return misfit(path, format!("a {class}"));
                };
                let (parts, _): (Bound<'py, PyAny>, Py<PyAny>) = flatten.bind(py).call1((object,))?.extract()?;
                parts.try_iter()?.collect::<PyResult<_>>()?
            }
        };
        let parts = self.parts().unwrap_or(&[]);
        if values.len() != parts.len() {
            return misfit(path, format!("a {class} of {} entries", values.len()));
        }
        for (k, (part, value)) in parts.iter().zip(&values).enumerate() {
            let end = path.len();
            path.push_str(&self.step(py, k));
            if let Err(misfit) = part.take_parts(value, path, out)? {
                return Ok(Err(misfit));
            }
            path.truncate(end);
        }
        Ok(Ok(()))
    }
}

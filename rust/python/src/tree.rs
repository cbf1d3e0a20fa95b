//! Trees: nested dicts, lists, tuples, named tuples, dataclasses and registered classes, taken apart into leaves.
//!
//! `None` is a tree without leaves. Whatever is not a container is a leaf. Dicts keep the order of their sorted keys where
//! the keys can be sorted, and their own order where they can't.

use std::sync::{PoisonError, RwLock};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::convert;

/// Deeper nesting is taken for an object that contains itself.
const MAX_DEPTH: usize = 500;

/// The containers of a tree, without its leaves.
pub enum Tree {
    Leaf,
    None,
    Tuple(Vec<Tree>),
    List(Vec<Tree>),
    Dict(Vec<Py<PyAny>>, Vec<Tree>),
    Named(Py<PyType>, Vec<Tree>),
    Dataclass(Py<PyType>, Vec<Py<PyAny>>, Vec<Tree>),
    /// A registered class: what its flatten function gave besides the children.
    Custom(Py<PyType>, Py<PyAny>, Vec<Tree>),
}

/// How a registered class is taken apart and put together, by the address of the class, which the table keeps alive.
struct Registered {
    class: Py<PyType>,
    flatten: Py<PyAny>,
    unflatten: Py<PyAny>,
}

static REGISTRY: RwLock<Option<FxHashMap<usize, Registered>>> = RwLock::new(None);

pub fn registered(class: &Bound<'_, PyType>) -> Option<(Py<PyAny>, Py<PyAny>)> {
    let table = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let r = table.as_ref()?.get(&(class.as_ptr() as usize))?;
    Some((r.flatten.clone_ref(class.py()), r.unflatten.clone_ref(class.py())))
}

impl Tree {
    /// Takes `object` apart; its leaves go to `leaves`.
    pub fn flatten<'py>(object: &Bound<'py, PyAny>, leaves: &mut Vec<Bound<'py, PyAny>>) -> PyResult<Tree> {
        Tree::take(object, leaves, 0)
    }

    /// Whether this is a leaf for certain: the common ones, told by their type alone.
    pub fn is_leaf(object: &Bound<'_, PyAny>) -> bool {
        object.is_exact_instance_of::<PyFloat>()
            || object.is_exact_instance_of::<crate::array::Array>()
            || convert::is_ndarray(object)
            || object.is_exact_instance_of::<PyInt>()
            || object.is_exact_instance_of::<PyString>()
    }

    fn take<'py>(object: &Bound<'py, PyAny>, leaves: &mut Vec<Bound<'py, PyAny>>, depth: usize) -> PyResult<Tree> {
        if Tree::is_leaf(object) {
            leaves.push(object.clone());
            return Ok(Tree::Leaf);
        }
        if depth > MAX_DEPTH {
            return Err(PyValueError::new_err(format!(
                "a tree of arguments or results is nested more than {MAX_DEPTH} deep; does a container contain itself?"
            )));
        }
        if object.is_none() {
            return Ok(Tree::None);
        }
        let mut children = |items: &mut dyn Iterator<Item = PyResult<Bound<'py, PyAny>>>| -> PyResult<Vec<Tree>> {
            items.map(|x| Tree::take(&x?, leaves, depth + 1)).collect()
        };
        if let Ok(t) = object.cast::<PyTuple>() {
            let parts = children(&mut t.iter().map(Ok))?;
            if t.is_exact_instance_of::<PyTuple>() {
                return Ok(Tree::Tuple(parts));
            }
            if t.hasattr(intern!(t.py(), "_fields"))? {
                return Ok(Tree::Named(t.get_type().unbind(), parts));
            }
            return Ok(Tree::Tuple(parts));
        }
        if let Ok(l) = object.cast::<PyList>() {
            return Ok(Tree::List(children(&mut l.iter().map(Ok))?));
        }
        if let Ok(d) = object.cast::<PyDict>() {
            let keys = d.keys();
            // keys of mixed types have no order; then their own order is the tree's
            if keys.sort().is_err() {
                return Ok(Tree::Dict(
                    d.keys().iter().map(Bound::unbind).collect(),
                    children(&mut d.values().iter().map(Ok))?,
                ));
            }
            let values: Vec<PyResult<Bound<'py, PyAny>>> = keys.iter().map(|k| d.as_any().get_item(k)).collect();
            return Ok(Tree::Dict(keys.iter().map(Bound::unbind).collect(), children(&mut values.into_iter())?));
        }
        let class = object.get_type();
        if let Some((flatten, _)) = registered(&class) {
            let (parts, aux): (Bound<'py, PyAny>, Py<PyAny>) = flatten.bind(object.py()).call1((object,))?.extract()?;
            return Ok(Tree::Custom(class.unbind(), aux, children(&mut parts.try_iter()?)?));
        }
        if !object.is_instance_of::<PyType>() && class.hasattr(intern!(class.py(), "__dataclass_fields__"))? {
            let fields = class.getattr(intern!(class.py(), "__dataclass_fields__"))?.cast_into::<PyDict>()?;
            let mut names = Vec::new();
            for (name, field) in fields.iter() {
                // ClassVar and InitVar stand in the table too, under another field type
                let kind: String = field.getattr("_field_type")?.getattr("name")?.extract()?;
                if kind == "_FIELD" {
                    names.push(name);
                }
            }
            let values: Vec<PyResult<Bound<'py, PyAny>>> =
                names.iter().map(|n| object.getattr(n.cast::<pyo3::types::PyString>()?)).collect();
            let parts = children(&mut values.into_iter())?;
            return Ok(Tree::Dataclass(class.unbind(), names.into_iter().map(Bound::unbind).collect(), parts));
        }
        leaves.push(object.clone());
        Ok(Tree::Leaf)
    }

    /// Whether [`Tree::matches`] can tell this structure: the containers of Python, and dicts by name.
    pub fn is_plain(&self) -> bool {
        match self {
            Tree::Leaf | Tree::None => true,
            Tree::Tuple(parts) | Tree::List(parts) => parts.iter().all(Tree::is_plain),
            Tree::Dict(keys, parts) => {
                let named = |k: &Py<PyAny>| Python::attach(|py| k.bind(py).is_exact_instance_of::<PyString>());
                keys.iter().all(named) && parts.iter().all(Tree::is_plain)
            }
            Tree::Named(..) | Tree::Dataclass(..) | Tree::Custom(..) => false,
        }
    }

    /// Whether `object` is of this plain structure, as far as `leaf` agrees with its leaves, which come in order. Says no
    /// where taking the object apart would be needed to know.
    pub fn matches<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        leaf: &mut dyn FnMut(&Bound<'py, PyAny>) -> PyResult<bool>,
    ) -> PyResult<bool> {
        match self {
            Tree::Leaf => Ok(Tree::is_leaf(object) && leaf(object)?),
            Tree::None => Ok(object.is_none()),
            Tree::Tuple(parts) => match object.cast_exact::<PyTuple>() {
                Ok(t) if t.len() == parts.len() => all_match(parts.iter().zip(t.iter()), leaf),
                _ => Ok(false),
            },
            Tree::List(parts) => match object.cast_exact::<PyList>() {
                Ok(l) if l.len() == parts.len() => all_match(parts.iter().zip(l.iter()), leaf),
                _ => Ok(false),
            },
            Tree::Dict(keys, parts) => match object.cast_exact::<PyDict>() {
                Ok(d) if d.len() == parts.len() => {
                    for (key, part) in keys.iter().zip(parts) {
                        match d.get_item(key)? {
                            Some(x) if part.matches(&x, leaf)? => {}
                            _ => return Ok(false),
                        }
                    }
                    Ok(true)
                }
                _ => Ok(false),
            },
            Tree::Named(..) | Tree::Dataclass(..) | Tree::Custom(..) => Ok(false),
        }
    }

    /// Puts a tree together from leaves, in order.
    pub fn unflatten(&self, py: Python<'_>, leaves: &mut dyn Iterator<Item = Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let mut out: SmallVec<[Py<PyAny>; 8]> = SmallVec::new();
        for part in self.parts().unwrap_or(&[]) {
            out.push(match part {
                Tree::Leaf => next(leaves)?,
                inner => inner.unflatten(py, leaves)?,
            });
        }
        let parts = out.drain(..);
        Ok(match self {
            Tree::Leaf => next(leaves)?,
            Tree::None => py.None(),
            Tree::Tuple(_) => PyTuple::new(py, parts)?.into_any().unbind(),
            Tree::List(_) => PyList::new(py, parts)?.into_any().unbind(),
            Tree::Dict(keys, _) => {
                let d = PyDict::new(py);
                for (k, v) in keys.iter().zip(parts) {
                    d.set_item(k, v)?;
                }
                d.into_any().unbind()
            }
            Tree::Named(class, _) => class.bind(py).call1(PyTuple::new(py, parts)?)?.unbind(),
            Tree::Dataclass(class, names, _) => {
                // not through __init__, which may convert or check what an Array is not
                let object = class.bind(py).call_method1(intern!(py, "__new__"), (class,))?;
                let set = py.get_type::<PyAny>().getattr(intern!(py, "__setattr__"))?;
                for (n, v) in names.iter().zip(parts) {
                    set.call1((&object, n, v))?;
                }
                object.unbind()
            }
            Tree::Custom(class, aux, _) => {
                let Some((_, unflatten)) = registered(class.bind(py)) else {
                    return Err(PyTypeError::new_err("tree: the class is no longer registered"));
                };
                unflatten.call1(py, (aux, PyTuple::new(py, parts)?))?
            }
        })
    }

    pub fn leaf_count(&self) -> usize {
        self.parts().map_or(matches!(self, Tree::Leaf) as usize, |p| p.iter().map(Tree::leaf_count).sum())
    }

    pub fn parts(&self) -> Option<&[Tree]> {
        match self {
            Tree::Leaf | Tree::None => None,
            Tree::Tuple(p) | Tree::List(p) | Tree::Dict(_, p) | Tree::Named(_, p) => Some(p),
            Tree::Dataclass(_, _, p) | Tree::Custom(_, _, p) => Some(p),
        }
    }

    /// Whether both have the same containers.
    pub fn same(&self, py: Python<'_>, other: &Tree) -> PyResult<bool> {
        let heads = match (self, other) {
            (Tree::Leaf, Tree::Leaf)
            | (Tree::None, Tree::None)
            | (Tree::Tuple(_), Tree::Tuple(_))
            | (Tree::List(_), Tree::List(_)) => true,
            (Tree::Dict(a, _), Tree::Dict(b, _)) => equal(py, a, b)?,
            (Tree::Named(a, _), Tree::Named(b, _)) => a.is(b),
            (Tree::Dataclass(a, m, _), Tree::Dataclass(b, n, _)) => a.is(b) && equal(py, m, n)?,
            (Tree::Custom(a, m, _), Tree::Custom(b, n, _)) => a.is(b) && m.bind(py).eq(n)?,
            _ => false,
        };
        let (a, b) = (self.parts().unwrap_or(&[]), other.parts().unwrap_or(&[]));
        if !heads || a.len() != b.len() {
            return Ok(false);
        }
        for (x, y) in a.iter().zip(b) {
            if !x.same(py, y)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn clone_ref(&self, py: Python<'_>) -> Tree {
        let all = |p: &[Tree]| p.iter().map(|t| t.clone_ref(py)).collect::<Vec<_>>();
        let refs = |k: &[Py<PyAny>]| k.iter().map(|k| k.clone_ref(py)).collect::<Vec<_>>();
        match self {
            Tree::Leaf => Tree::Leaf,
            Tree::None => Tree::None,
            Tree::Tuple(p) => Tree::Tuple(all(p)),
            Tree::List(p) => Tree::List(all(p)),
            Tree::Dict(k, p) => Tree::Dict(refs(k), all(p)),
            Tree::Named(c, p) => Tree::Named(c.clone_ref(py), all(p)),
            Tree::Dataclass(c, n, p) => Tree::Dataclass(c.clone_ref(py), refs(n), all(p)),
            Tree::Custom(c, a, p) => Tree::Custom(c.clone_ref(py), a.clone_ref(py), all(p)),
        }
    }

    pub fn show(&self, py: Python<'_>) -> String {
        let all = |p: &[Tree]| p.iter().map(|t| t.show(py)).collect::<Vec<_>>().join(", ");
        let name = |c: &Py<PyType>| c.bind(py).name().map_or_else(|_| "?".into(), |n| n.to_string());
        match self {
            Tree::Leaf => "*".into(),
            Tree::None => "None".into(),
            Tree::Tuple(p) if p.len() == 1 => format!("({},)", all(p)),
            Tree::Tuple(p) => format!("({})", all(p)),
            Tree::List(p) => format!("[{}]", all(p)),
            Tree::Dict(k, p) => {
                let items: Vec<String> =
                    k.iter().zip(p).map(|(k, t)| format!("{}: {}", k.bind(py), t.show(py))).collect();
                format!("{{{}}}", items.join(", "))
            }
            Tree::Named(c, p) | Tree::Dataclass(c, _, p) | Tree::Custom(c, _, p) => format!("{}({})", name(c), all(p)),
        }
    }
}

fn next(leaves: &mut dyn Iterator<Item = Py<PyAny>>) -> PyResult<Py<PyAny>> {
    leaves.next().ok_or_else(|| PyValueError::new_err("tree: too few leaves for this structure"))
}

fn all_match<'a, 'py: 'a>(
    mut pairs: impl Iterator<Item = (&'a Tree, Bound<'py, PyAny>)>,
    leaf: &mut dyn FnMut(&Bound<'py, PyAny>) -> PyResult<bool>,
) -> PyResult<bool> {
    pairs.try_fold(true, |so_far, (part, x)| Ok(so_far && part.matches(&x, leaf)?))
}

fn equal(py: Python<'_>, a: &[Py<PyAny>], b: &[Py<PyAny>]) -> PyResult<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (x, y) in a.iter().zip(b) {
        if !x.is(y) && !x.bind(py).eq(y)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The structure of a tree: its containers without its leaves.
#[pyclass(frozen, module = "mlgrad.tree")]
pub struct TreeDef(Tree);

#[pymethods]
impl TreeDef {
    #[getter]
    fn num_leaves(&self) -> usize {
        self.0.leaf_count()
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        match other.cast::<TreeDef>() {
            Ok(o) => self.0.same(py, &o.get().0),
            Err(_) => Ok(false),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("TreeDef({})", self.0.show(py))
    }
}

#[pyfunction]
fn tree_flatten<'py>(tree: &Bound<'py, PyAny>) -> PyResult<(Vec<Bound<'py, PyAny>>, TreeDef)> {
    let mut leaves = Vec::new();
    let tree = Tree::flatten(tree, &mut leaves)?;
    Ok((leaves, TreeDef(tree)))
}

#[pyfunction]
fn tree_unflatten(py: Python<'_>, treedef: &TreeDef, leaves: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let leaves: Vec<Py<PyAny>> = leaves.try_iter()?.map(|x| x.map(Bound::unbind)).collect::<PyResult<_>>()?;
    let (given, wanted) = (leaves.len(), treedef.0.leaf_count());
    if given != wanted {
        return Err(PyValueError::new_err(format!(
            "tree.unflatten: {} takes {wanted} leaves, got {given}",
            treedef.__repr__(py)
        )));
    }
    treedef.0.unflatten(py, &mut leaves.into_iter())
}

#[pyfunction]
#[pyo3(signature = (f, tree, *rest))]
fn tree_map(f: &Bound<'_, PyAny>, tree: &Bound<'_, PyAny>, rest: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = f.py();
    let mut first = Vec::new();
    let structure = Tree::flatten(tree, &mut first)?;
    let mut columns = vec![first];
    for other in rest {
        let mut leaves = Vec::new();
        let o = Tree::flatten(&other, &mut leaves)?;
        if !structure.same(py, &o)? {
            return Err(PyValueError::new_err(format!(
                "tree.map: the trees differ in structure: {} and {}",
                structure.show(py),
                o.show(py)
            )));
        }
        columns.push(leaves);
    }
    let mut out = Vec::with_capacity(columns[0].len());
    for i in 0..columns[0].len() {
        let args = PyTuple::new(py, columns.iter().map(|c| c[i].clone()))?;
        out.push(f.call1(args)?.unbind());
    }
    structure.unflatten(py, &mut out.into_iter())
}

#[pyfunction]
fn tree_register(class: &Bound<'_, PyType>, flatten: Py<PyAny>, unflatten: Py<PyAny>) {
    let entry = Registered { class: class.clone().unbind(), flatten, unflatten };
    let old = {
        let mut table = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
        let key = entry.class.as_ptr() as usize;
        table.get_or_insert_default().insert(key, entry)
    };
    // dropping Python objects may run code: not under the lock
    drop(old);
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<TreeDef>()?;
    m.add_function(wrap_pyfunction!(tree_flatten, m)?)?;
    m.add_function(wrap_pyfunction!(tree_unflatten, m)?)?;
    m.add_function(wrap_pyfunction!(tree_map, m)?)?;
    m.add_function(wrap_pyfunction!(tree_register, m)?)
}

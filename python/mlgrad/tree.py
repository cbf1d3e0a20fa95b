"""Trees: nested dicts, lists, tuples, named tuples, dataclasses and registered classes; whatever else is a leaf.

>>> from mlgrad import tree
>>> leaves, structure = tree.flatten({"b": [1.0, 2.0], "a": (3.0, None)})
>>> leaves
[3.0, 1.0, 2.0]
>>> tree.unflatten(structure, [x * 10 for x in leaves])
{'a': (30.0, None), 'b': [10.0, 20.0]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from mlgrad import _core
from mlgrad._core import TreeDef

__all__ = ["TreeDef", "flatten", "map", "register", "unflatten"]

_T = TypeVar("_T")


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """Take a tree apart.

    Parameters
    ----------
    tree : any
        None is a tree without leaves. Dicts come in the order of their sorted keys where these can be sorted.

    Returns
    -------
    leaves : list
        From left to right.
    structure : TreeDef
        The containers; can be compared.

    Raises
    ------
    ValueError
        If the tree is nested more than 500 deep.

    Examples
    --------
    >>> flatten([1.0, {"x": 2.0}])[0]
    [1.0, 2.0]
    """
    return _core.tree_flatten(tree)


def unflatten(structure: TreeDef, leaves: Iterable[Any]) -> Any:
    """Put a tree together.

    Parameters
    ----------
    structure : TreeDef
        From `flatten`.
    leaves : iterable
        As many as the structure has.

    Returns
    -------
    tree
        The containers of the structure with these leaves.

    Raises
    ------
    ValueError
        If the number of leaves is another.

    Examples
    --------
    >>> structure = flatten((1.0, [2.0]))[1]
    >>> unflatten(structure, ["a", "b"])
    ('a', ['b'])
    """
    return _core.tree_unflatten(structure, leaves)


def map(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply `f` to every leaf, or to the corresponding leaves of several trees.

    Parameters
    ----------
    f : callable
        Takes one leaf of each tree.
    tree, *rest : trees
        Of one structure.

    Returns
    -------
    tree
        Of the same structure, with the results as leaves.

    Raises
    ------
    ValueError
        If the structures differ.

    Examples
    --------
    >>> params, grads = {"w": 1.0, "b": 2.0}, {"w": 10.0, "b": 20.0}
    >>> map(lambda p, g: p - 0.1 * g, params, grads)
    {'b': 0.0, 'w': 0.0}
    """
    return _core.tree_map(f, tree, *rest)


def register(
    cls: type[_T],
    flatten: Callable[[_T], tuple[Iterable[Any], Any]],
    unflatten: Callable[[Any, tuple[Any, ...]], _T],
) -> type[_T]:
    """Make instances of a class containers of trees.

    Parameters
    ----------
    cls : type
        Exactly this class: subclasses are registered by themselves.
    flatten : callable
        Takes an instance and returns ``(children, extra)``; `extra` is part of the structure and compared by equality.
    unflatten : callable
        Takes ``extra`` and the children, and returns an instance.

    Returns
    -------
    type
        `cls`.

    Examples
    --------
    >>> class Point:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    >>> _ = register(Point, lambda p: ((p.x, p.y), None), lambda extra, children: Point(*children))
    >>> map(abs, Point(-1.0, -2.0)).y
    2.0
    """
    _core.tree_register(cls, flatten, unflatten)
    return cls

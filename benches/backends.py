"""Everything that computes a row: each backend makes a call without arguments, or says why it cannot."""

import importlib.util

import numpy as np

import mlgrad

#: In the order of the table's columns.
NAMES = ("NumPy by hand", "autograd", "JAX", "jax.jit", "torch", "torch.compile", "mlgrad", "mlgrad.jit")
#: What is measured beside them, to be compared with mlgrad alone.
VALUE = "mlgrad.jit, value"


class MissingError(Exception):
    """A backend that is not installed; the message says what is missing."""


def _need(package):
    if importlib.util.find_spec(package) is None:
        raise MissingError(f"{package} is not installed")


def _numpy(row, arguments):
    if row.gradient_only:
        return lambda: row.problem.by_hand(*arguments)[1]
    return lambda: row.problem.by_hand(*arguments)


def _autograd(row, arguments):
    _need("autograd")
    import autograd
    import autograd.numpy

    g = getattr(autograd, row.transform)(row.problem.define(autograd.numpy))
    return lambda: g(*arguments)


def _jax(row, arguments, jitted):
    _need("jax")
    import jax
    import jax.numpy as jnp

    f = row.rolled() if jitted and row.rolled else row.problem.define(jnp)
    g = getattr(jax, row.transform)(f)
    if jitted:
        g = jax.jit(g)
    on_device = jax.tree.map(jnp.asarray, arguments)
    return lambda: jax.block_until_ready(g(*on_device))


def _torch(row, arguments, compiled):
    _need("torch")
    import torch
    from torch.utils import _pytree

    import torch_numpy

    f = row.problem.define(torch_numpy)

    def tensor(x):
        return torch.as_tensor(x, dtype=torch.float64) if isinstance(x, float) else torch.as_tensor(x)

    params, data = _pytree.tree_map(tensor, arguments[0]), [_pytree.tree_map(tensor, a) for a in arguments[1:]]
    leaves, tree = _pytree.tree_flatten(params)
    if compiled:
        torch.compiler.reset()  # or it would count the rows before this one as new shapes of the same function
        g = torch.compile(torch.func.grad_and_value(f), fullgraph=True, dynamic=False)

        def call():
            gradient, value = g(params, *data)
            return gradient if row.gradient_only else (value, gradient)

        return call
    for leaf in leaves:
        leaf.requires_grad_()

    def call():
        value = f(params, *data)
        gradient = _pytree.tree_unflatten(torch.autograd.grad(value, leaves), tree)
        return gradient if row.gradient_only else (value.detach(), gradient)

    return call


def _mlgrad(row, arguments, jitted):
    g = getattr(mlgrad, row.transform)(row.problem.define(np))
    if jitted:
        g = mlgrad.jit(g)
    return lambda: g(*arguments)


def _value(row, arguments):
    f = mlgrad.jit(row.problem.define(np))
    return lambda: f(*arguments)


_MAKERS = {
    "NumPy by hand": _numpy,
    "autograd": _autograd,
    "JAX": lambda row, arguments: _jax(row, arguments, jitted=False),
    "jax.jit": lambda row, arguments: _jax(row, arguments, jitted=True),
    "torch": lambda row, arguments: _torch(row, arguments, compiled=False),
    "torch.compile": lambda row, arguments: _torch(row, arguments, compiled=True),
    "mlgrad": lambda row, arguments: _mlgrad(row, arguments, jitted=False),
    "mlgrad.jit": lambda row, arguments: _mlgrad(row, arguments, jitted=True),
    VALUE: _value,
}


def calls(row, names):
    """Make the calls of these backends, and a dict that says why the others take no part."""
    arguments = row.problem.arguments(row.n, np.random.default_rng(0))
    made, absent = {}, {}
    for name in names:
        if name in row.without:
            absent[name] = row.without[name]
            continue
        try:
            made[name] = _MAKERS[name](row, arguments)
        except MissingError as error:
            absent[name] = str(error)
    return made, absent

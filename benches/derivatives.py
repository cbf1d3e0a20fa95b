"""Jacobians, Hessians, implicit gradients and differential equations, beside JAX.

    python benches/derivatives.py [--quick] [--rows TEXT,...]

Everything is jitted on both sides, in float64, and gives equal results before it is timed. The implicit gradient by
hand in JAX solves the normal equations and differentiates them as a textbook does; mlgrad is given the loss alone.

What bounds the rows that are below their goals, by bytes and latencies on two cores with AVX-512:

- hvp of a logistic loss, 1e5 parameters: X is 40 MB. X w and X v share one reading, and the transposed product is
  another, since it needs whole rows of 800 kB first: 80 MB. jax.jit reads 120 MB. Both do so at the speed of memory (44
  GB/s where they take turns; 71 and 64 GB/s where each is repeated alone), so 1.5 times as fast is what there is.
- odeint: 198 trial steps, 84 us. One forward is 65 ns of generated code and 46 ns of a power for the step size, one
  back, after the step is computed once more, some 120 ns. jax.jit takes 1.9 us for both in code compiled for it. Ten
  times less, 0.19 us, is below the latency of the chain of additions and multiplications alone (7 stages of
  8 operations, 4 cycles each, three times).
"""

import argparse

import numpy as np

import environment

RATE = 1.4e-8  # JAX's default tolerance


def logistic(xp):
    def loss(w, x, y):
        z = x @ w
        return xp.mean(xp.logaddexp(0.0, z) - y * z)

    return loss


def rosenbrock(xp):
    return lambda x: xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def network(xp):
    return lambda x, w1, w2: xp.tanh(w2 @ xp.tanh(w1 @ x))


def predator_prey(xp):
    return lambda y, t, p: y * (p[:2] + p[2:] * y[::-1])


def hessian_of_logistic(rng):
    import jax

    import mlgrad

    x, w = rng.normal(size=(1000, 100)), 0.1 * rng.normal(size=100)
    y = (rng.random(1000) < 0.5).astype(float)
    return mlgrad.jit(mlgrad.hessian(logistic(np))), jax.jit(jax.hessian(logistic(jax.numpy))), (w, x, y)


def hvp_of_logistic(rng):
    import jax

    import mlgrad

    n = 100_000
    x, w, v = rng.normal(size=(50, n)) / np.sqrt(n), rng.normal(size=n), rng.normal(size=n)
    y = (rng.random(50) < 0.5).astype(float)
    ours = mlgrad.jit(lambda w, v, x, y: mlgrad.hvp(lambda w: logistic(np)(w, x, y), (w,), (v,)))
    theirs = jax.jit(lambda w, v, x, y: jax.jvp(jax.grad(lambda w: logistic(jax.numpy)(w, x, y)), (w,), (v,))[1])
    return ours, theirs, (w, v, x, y)


def hvp_of_rosenbrock(rng):
    import jax

    import mlgrad

    x, v = rng.normal(size=100_000), rng.normal(size=100_000)
    ours = mlgrad.jit(lambda x, v: mlgrad.hvp(rosenbrock(np), (x,), (v,)))
    theirs = jax.jit(lambda x, v: jax.jvp(jax.grad(rosenbrock(jax.numpy)), (x,), (v,))[1])
    return ours, theirs, (x, v)


def jacobian_of_network(rng):
    import jax

    import mlgrad

    x = rng.normal(size=100)
    w1, w2 = rng.normal(size=(100, 100)) / 10, rng.normal(size=(100, 100)) / 10
    return mlgrad.jit(mlgrad.jacobian(network(np))), jax.jit(jax.jacfwd(network(jax.numpy))), (x, w1, w2)


def ridge(rng):
    """Make the gradient of a validation loss by the strength of the penalty, for 50 strengths."""
    import jax

    import mlgrad
    from mlgrad.implicit import argmin

    jnp = jax.numpy
    x, y, v, z = rng.normal(size=(1000, 100)), rng.normal(size=1000), rng.normal(size=(200, 100)), rng.normal(size=200)
    strengths = np.geomspace(0.1, 1000, 50)

    def loss(w, strength, x, y):
        return np.sum((x @ w - y) ** 2) + strength * np.sum(w**2)

    def validation(strength, x, y, v, z):
        return np.mean((v @ argmin(loss, np.zeros(100), strength, x, y) - z) ** 2)

    ours = mlgrad.jit(mlgrad.vmap(mlgrad.grad(validation), (0, None, None, None, None)))

    def by_hand(strength, x, y, v, z):
        a = x.T @ x + strength * jnp.eye(100)
        w = jnp.linalg.solve(a, x.T @ y)
        slope = -jnp.linalg.solve(a, w)
        return 2 / 200 * jnp.dot(v.T @ (v @ w - z), slope)

    theirs = jax.jit(jax.vmap(by_hand, (0, None, None, None, None)))
    return ours, theirs, (strengths, x, y, v, z)


def lotka_volterra(rng):
    import jax
    from jax.experimental.ode import odeint as jax_odeint

    import mlgrad
    from mlgrad.implicit import odeint

    t = np.linspace(0.0, 10.0, 21)

    def loss(y0, p):
        return np.sum(odeint(predator_prey(np), y0, t, p, rtol=RATE, atol=RATE) ** 2)

    def jax_loss(y0, p):
        return jax.numpy.sum(jax_odeint(predator_prey(jax.numpy), y0, t, p, rtol=RATE, atol=RATE) ** 2)

    arguments = (np.array([1.0, 1.0]), np.array([1.5, -3.0, -1.0, 1.0]))
    return mlgrad.jit(mlgrad.value_and_grad(loss, (0, 1))), jax.jit(jax.value_and_grad(jax_loss, (0, 1))), arguments


#: name, what makes the two functions and their arguments, the ratio to reach, how far results may differ
ROWS = (
    ("hessian of a logistic loss, 1000 x 100", hessian_of_logistic, 2, 1e-9),
    ("hvp of a logistic loss, 1e5 parameters", hvp_of_logistic, 2, 1e-9),
    ("hvp of Rosenbrock, 1e5 parameters", hvp_of_rosenbrock, 2, 1e-9),
    ("jacobian of a tanh network, 100 to 100", jacobian_of_network, 3, 1e-9),
    ("implicit gradient of ridge, 1000 x 100, 50 penalties", ridge, 2, 1e-6),
    ("gradient of odeint, Lotka-Volterra", lotka_volterra, 10, 1e-3),
)


def run(quick, rows=""):
    import jax

    from mlgrad import _bench

    lines, figures = [], {}
    for name, make, goal, tolerance in ROWS:
        if rows and not any(text in name for text in rows.split(",")):
            continue
        ours, theirs, arguments = make(np.random.default_rng(0))
        on_device = jax.tree.map(jax.numpy.asarray, arguments)
        calls = {
            "jax.jit": lambda f=theirs, a=on_device: jax.block_until_ready(f(*a)),
            "mlgrad.jit": lambda f=ours, a=arguments: f(*a),
        }
        _bench.check_equal({k: c() for k, c in calls.items()}, tolerance)
        times = _bench.best_times(calls, budget=1.0 if quick else 4.0)
        ratio = times["jax.jit"] / times["mlgrad.jit"]
        figures[name] = {"seconds": times, "ratio": ratio, "goal": goal}
        met = f"{'met' if ratio >= goal else 'MISSED'} (at least {goal})"
        lines.append([name, *(_bench.duration(times[k]) for k in calls), f"{ratio:.2f}", met])
        print(f"  {name}: {ratio:.2f} times as fast as jax.jit", flush=True)
    print(_bench.table(["", "jax.jit", "mlgrad.jit", "times", "goal"], lines))
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", default="", help="only rows whose name contains one of these texts")
    options = parser.parse_args()
    environment.prepare()
    run(options.quick, options.rows)

"""Time against size, for the functions that are measured at several sizes."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import backends

_STYLE = {
    "NumPy by hand": ("tab:gray", "s"),
    "autograd": ("tab:brown", "v"),
    "JAX": ("tab:cyan", "<"),
    "jax.jit": ("tab:blue", "o"),
    "torch": ("tab:pink", ">"),
    "torch.compile": ("tab:purple", "D"),
    "mlgrad": ("tab:orange", "^"),
    "mlgrad.jit": ("tab:red", "*"),
}


def draw(measured, path):
    """Write one picture: a panel for each function with several sizes, both axes logarithmic."""
    series = {}
    for record in measured["rows"]:
        if record["counts"]:
            series.setdefault(record["name"], []).append(record)
    series = {name: rows for name, rows in series.items() if len({r["n"] for r in rows}) > 1 and name != "mlp"}
    if not series:
        raise SystemExit("nothing to plot: no function was measured at several sizes (rosenbrock, chain)")
    figure, panels = plt.subplots(1, len(series), figsize=(5.5 * len(series), 4.6), squeeze=False, layout="constrained")
    for panel, (name, rows) in zip(panels[0], series.items(), strict=True):
        for backend in backends.NAMES:
            points = sorted((r["n"], r["seconds"][backend]) for r in rows if backend in r["seconds"])
            if points:
                colour, marker = _STYLE[backend]
                panel.loglog(*zip(*points, strict=True), color=colour, marker=marker, label=backend)
        panel.set(title=f"{name}: value and gradient", xlabel="elements", ylabel="seconds a call")
        panel.grid(visible=True, which="major", alpha=0.3)
    panels[0][0].legend(fontsize="small")
    machine = measured["machine"]
    figure.suptitle(f"{machine['threads']} cores, {machine['isa']}", fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)

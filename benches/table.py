"""The table: each row measured by all backends in one process, in interleaved rounds, and set against its goal."""

import math
import statistics

import backends
from mlgrad import _bench


def measure(row, names, quick):
    """Check that all backends agree on a row, and time them; returns what the row's line in the JSON file says."""
    mine = () if row.ours == "mlgrad" else (backends.VALUE,)
    calls, absent = backends.calls(row, [*names, *mine])
    _bench.check_equal({n: c() for n, c in calls.items() if n != backends.VALUE}, row.tolerance)
    times = _bench.best_times(calls, budget=0.6 if quick else 4.0, rounds=50 if quick else 200)
    rivals = {n: times[n] for n in times if not n.startswith("mlgrad")}
    peer = row.peer if row.peer in rivals else min(rivals, key=rivals.get)
    record = {
        "row": row.title,
        "name": row.name,
        "n": row.n,
        "seconds": times,
        "absent": absent,
        "of": [row.ours, peer],
        "ratio": times[peer] / times[row.ours],
        "goal": row.goal,
        "counts": row.counts,
        "eager_goal": row.eager_goal,
    }
    if "autograd" in times and "mlgrad" in times:
        record["eager_ratio"] = times["autograd"] / times["mlgrad"]
    if backends.VALUE in times and not row.gradient_only:
        record["over_value"] = times["mlgrad.jit"] / times[backends.VALUE]
    return record


def verdict(figure, goal, at_least=True):
    """Say whether a figure meets its goal."""
    if goal is None:
        return ""
    met = figure >= goal if at_least else figure <= goal
    return f"{'met' if met else 'MISSED'} ({'at least' if at_least else 'at most'} {goal:g})"


def show(records):
    """Return the table of the rows, their geometric mean, and the comparisons within mlgrad, as text."""
    lines = []
    for r in records:
        times = [_bench.duration(r["seconds"][n]) if n in r["seconds"] else "" for n in backends.NAMES]
        of = f"{r['of'][1]} / {r['of'][0]}"
        lines.append([r["row"], *times, f"{r['ratio']:.2f}", of, verdict(r["ratio"], r["goal"])])
    text = [_bench.table(["value and gradient", *backends.NAMES, "ratio", "of", "goal"], lines)]
    reasons = {}
    for r in records:
        for name, why in r["absent"].items():
            if r["counts"]:
                reasons.setdefault(f"{name}: {why}", []).append(r["row"])
    text += [f"left out: {why} ({len(rows)} rows: {'; '.join(rows)})" for why, rows in reasons.items()]
    text += [f"{what}: {shown}  {judged}" for what, shown, judged in summary(records)]
    missed = [r["row"] for r in records if r["goal"] and r["ratio"] < r["goal"]]
    if missed:
        text.append(f"rows below their goal ({len(missed)} of {len(records)}): {'; '.join(missed)}")
    return "\n".join(text)


def summary(records):
    """Yield what holds over all rows: what it is, its figure, and whether it is what was wanted."""
    counted = [r for r in records if r["counts"]]
    if not counted:
        return
    mean = math.exp(statistics.fmean(math.log(r["ratio"]) for r in counted))
    yield f"geometric mean of {len(counted)} rows", f"{mean:.2f}", verdict(mean, 4)
    worst = min(counted, key=lambda r: r["ratio"])
    yield f"lowest row ({worst['row']})", f"{worst['ratio']:.2f}", verdict(worst["ratio"], 1)
    over = {r["row"]: r["over_value"] for r in counted if "over_value" in r}
    if over:
        middle, most = statistics.median(over.values()), max(over, key=over.get)
        yield "value and gradient over value alone, median", f"{middle:.2f}", verdict(middle, 2.2, at_least=False)
        yield f"the same, highest ({most})", f"{over[most]:.2f}", verdict(over[most], 4, at_least=False)
    for r in counted:
        if r["eager_goal"] and "eager_ratio" in r:
            yield (
                f"without jit, over autograd: {r['row']}",
                f"{r['eager_ratio']:.1f}",
                verdict(r["eager_ratio"], r["eager_goal"]),
            )

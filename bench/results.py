"""What was measured, summed up: JSON with every round, and Markdown to paste into BENCHMARKS.md."""

from statistics import median

import flops
from sides import DESCRIPTIONS


def of_run(number, measured, window, tokens, warmup):
    """One round of one side. window is in steps, tokens those of a window."""
    ends = {step: at for step, at in measured.steps.items() if step % window == 0 and step >= warmup * window}
    seconds = [ends[step] - ends[step - window] for step in sorted(ends) if step - window in ends]
    return {
        "round": number, "error": measured.error, "first_step_seconds": measured.steps.get(1),
        "window_seconds": seconds, "tokens_per_second": tokens / median(seconds) if seconds else None,
        "peak_bytes": measured.peak_bytes, **measured.about,
    }


def of_side(case, runs, peak_flops):
    """All rounds of one side: medians, and the extremes between rounds."""
    good = [run for run in runs if not run["error"]]
    failed = [run["error"] for run in runs if run["error"]]
    entry = {"error": failed[0] if failed else "", "rounds": len(good), "runs": runs}
    if not good:
        return entry
    rates = [run["tokens_per_second"] for run in good]
    warm = [run["first_step_seconds"] for run in good if run["round"] > 1]
    entry |= {
        "tokens_per_second": median(rates), "slowest": min(rates), "fastest": max(rates),
        "peak_bytes": max(run["peak_bytes"] for run in good),
        "allocated_bytes": max((run.get("allocated_bytes") or 0 for run in good)) or None,
        "planned_bytes": max((run.get("planned_bytes") or 0 for run in good)) or None,
        "first_step_cold_seconds": next((run["first_step_seconds"] for run in good if run["round"] == 1), None),
        "first_step_warm_seconds": median(warm) if warm else None,
    }
    if not case.ragged:
        entry["model_flops_per_second"] = entry["tokens_per_second"] * flops.step(case) / flops.tokens(case)
        if peak_flops:
            entry["mfu"] = entry["model_flops_per_second"] / peak_flops
    return entry


def markdown(results):
    """The tables of all cases, the conditions first and the command last."""
    yield f"{results['hardware']}; {results['versions']}. Load average at the start {results['load_average']:.1f}."
    if results.get("matmul_flops"):
        yield f"torch's matrix product reached {results['matmul_flops'] / 1e9:,.0f} GFLOP/s in the same session."
    yield "Model FLOPs are PaLM's: attention in full though it is causal, and nothing for what is computed again."
    yield ""
    use = "MFU" if results["peak_flops"] else "GFLOP/s"
    columns = [
        "case", "program", "tokens/s", "slowest to fastest round", use, "memory taken", "allocated", "planned",
        "first step, cold", "warm", "ours: speed", "memory",
    ]
    yield "| " + " | ".join(columns) + " |"
    yield "| --- " * len(columns) + "|"
    for case in results["cases"]:
        ours = case["sides"].get("ours", {})
        for side, entry in case["sides"].items():
            yield "| " + " | ".join(row(case, side, entry, ours)) + " |"
    yield ""
    for case in results["cases"]:
        yield f"- {case['name']}: {case['description']}."
    yield ""
    yield "```"
    yield results["command"]
    yield "```"


def row(case, side, entry, ours):
    name, _, flags = side.partition(" ")
    label = DESCRIPTIONS[name] + (f" `{flags}`" if flags else "")
    if attention := next((run["attention"] for run in entry["runs"] if "attention" in run), ""):
        label += f" ({attention})"
    if entry["error"] and entry["rounds"]:
        label += f"; a round failed: {entry['error']}".replace("|", "/")
    if "tokens_per_second" not in entry:
        return [case["name"], label, f"failed: {entry['error']}".replace("|", "/")] + [""] * 9
    use = f"{entry['mfu']:.1%}" if "mfu" in entry else number(entry.get("model_flops_per_second"), 1e9)
    cells = [
        case["name"], label, number(entry["tokens_per_second"]),
        f"{number(entry['slowest'])} to {number(entry['fastest'])} ({entry['rounds']})", use,
        size(entry["peak_bytes"]), size(entry["allocated_bytes"]), size(entry["planned_bytes"]),
        seconds(entry["first_step_cold_seconds"]), seconds(entry["first_step_warm_seconds"]),
    ]
    if side == "ours" or "tokens_per_second" not in ours:
        return cells + ["", ""]
    both = ours["allocated_bytes"] and entry["allocated_bytes"]
    key = "allocated_bytes" if both else "peak_bytes"
    return cells + [f"{ours['tokens_per_second'] / entry['tokens_per_second']:.2f}x", f"{ours[key] / entry[key]:.2f}x"]


def number(x, unit=1):
    return f"{x / unit:,.0f}" if x else ""


def size(n):
    if not n:
        return ""
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def seconds(x):
    return f"{x:.1f} s" if x else ""

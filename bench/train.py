#!/usr/bin/env python3
"""Measures training beside Hugging Face transformers: tokens a second, MFU, peak memory, time to the first step.

    make && python3 bench/train.py                            on a GPU: the models at their sizes, hours
    make && python3 bench/train.py --quick --budget 480       the same widths, fewer layers: minutes
    make && python3 bench/train.py --device cpu               small models; with JAX too where it is installed

Needs bin/train, and of this Python torch, transformers and accelerate, for LoRA peft, and jax for its case; what isn't
installed is named and left out. No network and no weights: models are random, records synthetic. On a machine without
Go, bring bin/train along; it finds the CUDA plugin of an installed jax[cuda13] by itself, or LONGFORM_PJRT_CUDA names it.

Every program gets the same config.json, token ids, batch and precision, AdamW in that precision, gradients clipped to
a global norm of 1. Programs alternate, each run in a process of its own, --rounds times; all cases' first rounds come
first. A rate is the median over a run's windows of steps after the warm-up, then over rounds. Memory taken is the
most that nvidia-smi saw a process have (on CPU its resident memory); XLA takes most of a GPU at once, needed or not.
So beside it stands what is needed: our plan's figure, which XLA lays out before the first step, and the most that
torch's allocator gave out; the ratio is of these where both are known. The first step counts from the start of the process; cold is the first round, without any
compiled program on disk, warm the later ones. A program that fails is a line with its reason.

Results go to --out as .json and .md after each run, so a run that is stopped has what it measured.
"""

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cases
import flops
import machine
import measure
import results
import sides
import xla_flags

ROOT = Path(__file__).resolve().parent.parent


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where nvidia-smi lists a GPU")
    p.add_argument("--quick", action="store_true", help="on a GPU: fewer layers of the same widths")
    p.add_argument("--smoke", action="store_true", help="only check that ours runs and is read: a tiny model, no peers")
    p.add_argument("--budget", type=float, metavar="SECONDS", help="start no run that would likely end later than this")
    p.add_argument("--rounds", type=int, default=3, help="runs of each program (3)")
    p.add_argument("--cases", metavar="NAME,...", help="only these")
    p.add_argument("--sides", metavar="NAME,...", help="only these: " + ", ".join(sides.DESCRIPTIONS))
    p.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change the cases: batch=4, checkpointing=true, clip=0")
    p.add_argument("--flags", metavar="NAME,...", help="ours again with each set of XLA flags of xla_flags.py, or all; --flags='--x=y ...' gives a set itself")
    p.add_argument("--prepare", type=Path, metavar="DIR", help="only write the cases' configurations, for train plan or run by hand")
    p.add_argument("--train", type=Path, default=ROOT / "bin/train", help="our program (bin/train)")
    p.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="of one run (900)")
    p.add_argument("--scratch", type=Path, help="where runs are kept meanwhile: /tmp or /dev/shm, whichever has more room, since a checkpoint has to fit though none is written")
    p.add_argument("--out", type=Path, default=Path("runs/bench"), help="name of the results without ending (runs/bench)")
    return p.parse_args()


def chosen(a, device):
    """The cases to measure."""
    found = cases.SMOKE if a.smoke else cases.select(device, a.quick)
    if a.cases:
        names = a.cases.split(",")
        if unknown := set(names) - {case.name for case in found}:
            sys.exit(f"bench: no case {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in found)}")
        found = [case for case in found if case.name in names]
    for setting in a.set:
        key, _, value = setting.partition("=")
        try:
            found = [dataclasses.replace(case, **{key: json.loads(value)}) for case in found]
        except (TypeError, ValueError):
            sys.exit(f"bench: --set {setting}: give a field of cases.Case and its value as JSON, such as batch=4")
    return found


def programs(a, case):
    """(side, XLA flags) of each program to measure."""
    for side in case.sides:
        if a.sides and side not in a.sides.split(","):
            continue
        if lacking := sides.missing(side, case):
            print(f"{case.name}: without {sides.DESCRIPTIONS[side]}; not installed: {', '.join(lacking)}")
        else:
            yield side, ""
    for flags in xla_flags.chosen(a.flags, xla_flags.TRAINING):
        yield "ours", flags


def described(case):
    """The case in words."""
    rows = f"batch {case.batch} x {case.length}" + (f"/{case.target_length}" if case.target_length else "")
    text = f"{rows}, {'bfloat16' if case.precision == 'bf16' else case.precision}, AdamW"
    if case.lora:
        text += ", LoRA of rank 8 on queries and values"
    if case.checkpointing:
        text += ", gradient checkpointing"
    if not case.clip:
        text += ", no clipping"
    if case.ragged:
        return text + ", records of LongForm's lengths, only their own tokens counted"
    return text + f", {flops.step(case) / flops.tokens(case) / 1e9:.3g} GFLOP a token"


class Session:
    """All that one call measures, written down after each run."""

    def __init__(self, a, gpu):
        self.out, self.runs, self.versions = a.out, {}, {}
        name, hardware = machine.describe(gpu)
        self.results = {
            "command": "python3 " + shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
            "time": time.strftime("%Y-%m-%d %H:%M:%S %Z"), "hardware": hardware, "load_average": os.getloadavg()[0],
            "peak_flops": flops.peak(name), "versions": "", "cases": [],
        }
        version = subprocess.run([a.train, "--version"], capture_output=True, text=True).stdout.split()
        self.versions["longform"] = version[-1] if version else "unknown"

    def add(self, case, key, run):
        """Takes in a run, and writes everything anew."""
        self.versions |= run.pop("versions", {})
        runs = self.runs.setdefault(case.name, {})
        runs.setdefault(key, []).append(run)
        entry = {
            "name": case.name, "description": described(case), "config": case.config, "batch": case.batch,
            "sides": {key: results.of_side(case, runs[key], self.results["peak_flops"]) for key in runs},
        }
        names = [c["name"] for c in self.results["cases"]]
        if case.name in names:
            self.results["cases"][names.index(case.name)] = entry
        else:
            self.results["cases"].append(entry)
        self.write()

    def write(self):
        self.results["versions"] = ", ".join(f"{k} {v}" for k, v in self.versions.items())
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.with_suffix(".json").write_text(json.dumps(self.results, indent=1) + "\n")
        self.out.with_suffix(".md").write_text("\n".join(results.markdown(self.results)) + "\n")


def measure_all(a, device, gpu, scratch):
    if os.getloadavg()[0] > 0.5 * os.cpu_count():
        print("bench: other programs are busy here, and will be in the figures; torch suffers most on a CPU")
    begun, session, longest, failed = time.monotonic(), Session(a, gpu), {}, set()
    planned = [
        (sides.Bench(case, device, scratch / case.name, a.train.resolve()), list(programs(a, case)))
        for case in chosen(a, device)
    ]
    if any(side != "ours" for _, several in planned for side, _ in several):
        session.results["matmul_flops"] = matmul(device)
    for number in range(1, a.rounds + 1):
        for bench, several in planned:
            for side, flags in several:
                key = f"{side} {flags}".strip()
                at = (bench.case.name, key)
                left = a.budget - (time.monotonic() - begun) if a.budget else None
                if at in failed or left is not None and left < longest.get(at, 0):
                    continue
                started, limit = time.monotonic(), min(a.timeout, left or a.timeout)
                measured = bench.run(side, flags, gpu, limit)
                longest[at] = time.monotonic() - started
                if measured.error and limit < a.timeout and longest[at] >= limit:
                    print(f"round {number}  {bench.case.name:20}  {key:12}  not done when the budget was spent", flush=True)
                    continue
                run = results.of_run(number, measured, *bench.window(side), bench.case.warmup)
                if run["error"]:
                    failed.add(at)
                session.add(bench.case, key, run)
                rate = run["error"] or f"{run['tokens_per_second']:,.0f} tokens/s, first step after {run['first_step_seconds']:.1f} s"
                print(f"round {number}  {bench.case.name:20}  {key:12}  {rate}", flush=True)
    return session


def matmul(device):
    """FLOP/s of torch's matrix product, None without torch."""
    m = measure.run([sys.executable, "-m", "peers.matmul", device], sides.read_peer, None, cwd=sides.HERE)
    return m.about.get("flops")


def check(out):
    """Fails unless what was written has what a reader of it needs."""
    written = json.loads(out.with_suffix(".json").read_text())
    side = written["cases"][0]["sides"]["ours"]
    wanted = ("tokens_per_second", "model_flops_per_second", "peak_bytes", "first_step_cold_seconds")
    if side["error"] or any(not side.get(key) for key in wanted):
        sys.exit(f"bench: ours ran without {', '.join(wanted)}: {side['error'] or side}")


def main():
    a = parse()
    if a.smoke:
        a.rounds = 1
    if not a.train.exists():
        sys.exit(f"bench: no program {a.train}; build it with make, or name it with --train")
    if a.prepare:
        device = a.device or "cuda"
        for case in chosen(a, device):
            bench = sides.Bench(case, device, a.prepare / case.name, a.train)
            print(bench.configuration("ours", *bench.steps("ours")))
        return
    gpu = machine.find_gpu() if a.device != "cpu" and not a.smoke else None
    if a.device == "cuda" and gpu is None:
        sys.exit("bench: nvidia-smi lists no GPU; take --device cpu")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=a.scratch or machine.roomiest("/tmp", "/dev/shm")) as scratch:
        session = measure_all(a, "cuda" if gpu else "auto" if a.smoke else "cpu", gpu, Path(scratch))
    if not session.runs:
        sys.exit("bench: nothing was measured")
    print("\n" + a.out.with_suffix(".md").read_text())
    if a.smoke:
        check(a.out)


if __name__ == "__main__":
    main()

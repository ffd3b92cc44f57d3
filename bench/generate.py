#!/usr/bin/env python3
"""Measures writing beside Hugging Face generate and llama.cpp: time to the first token, and tokens a second from there.

    make && python3 bench/generate.py --model DIR                          the same weights in every program
    make && python3 bench/generate.py --model DIR --quick --budget 480     fewer and shorter texts: minutes
    make && python3 bench/generate.py --random llama-7b --budget 480       on a GPU: no weights are needed

Needs bin/infer, for llama.cpp also bin/train, and of this Python torch and transformers, and llama-cpp-python; what isn't
installed is named and left out, and --python llamacpp=PATH names another Python for one of them. float32 on a CPU, bfloat16
on a GPU (llama.cpp keeps its cache of keys and values in float16).

Every program gets the same token ids and writes as many greedily, no end token ending a text. The ids are numbers, or with
--prompts the beginnings of texts: where a program guesses what follows by what was there before, as longform does for a single
row, how often it is right depends on the text, and numbers flatter it. Programs alternate, each run in a process of its own that
writes a batch of each size once to warm up, which is where programs are compiled, and then all to be measured. Figures are medians
over --rounds of them. Memory's speed is measured in each round, too, and a program's share of it at batch 1 is the bytes of the
weights times tokens a second, where none are guessed: keys and values not counted.

Results go to --out as .json and .md after each run, so a run that is stopped has what it measured.
"""

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cases
import machine
import measure
import prompts
import xla_flags
from sides import HERE, read_peer
from writers import DESCRIPTIONS, Work, Writers, described, looks_up, weight_bytes

ROOT = HERE.parent
TEXTS = 16  # of --prompts, at least
CONFIGS = {"llama-7b": cases.LLAMA_7B, "llama-8b": cases.LLAMA_8B}


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", help="a directory with a LLaMA's weights")
    p.add_argument("--random", metavar="NAME", help=f"random weights instead: {', '.join(CONFIGS)}, or a directory with config.json")
    p.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where nvidia-smi lists a GPU")
    p.add_argument("--precision", choices=("float32", "bf16"), help="default: bf16 on a GPU, float32 without")
    p.add_argument("--batch", default="", metavar="N,...", help="rows written at once (1,8,64)")
    p.add_argument("--prompt-tokens", type=int, help="of each prompt (128)")
    p.add_argument("--new-tokens", type=int, help="of each text (128)")
    p.add_argument("--prompts", type=Path, metavar="FILE", help=f"JSON objects with texts, a line each or a list: {TEXTS} are begun, or more to fill batches")
    p.add_argument("--quick", action="store_true", help="prompts of 32 tokens and texts of 64, two rounds; on a CPU no batch of 64")
    p.add_argument("--smoke", action="store_true", help="only check that ours runs and is read: a tiny random model, no peers")
    p.add_argument("--budget", type=float, metavar="SECONDS", help="start no run that would likely end later than this")
    p.add_argument("--rounds", type=int, help="runs of each program (3)")
    p.add_argument("--sides", metavar="NAME,...", help="only these: " + ", ".join(DESCRIPTIONS))
    p.add_argument("--flags", metavar="NAME,...", help="ours-steps again with each set of XLA flags for writing of xla_flags.py, or all; --flags='--x=y ...' gives a set itself")
    p.add_argument("--python", metavar="SIDE=PATH", action="append", default=[], help="the Python that has a program's packages")
    p.add_argument("--infer", type=Path, default=ROOT / "bin/infer", help="our program (bin/infer)")
    p.add_argument("--train", type=Path, default=ROOT / "bin/train", help="writes the file for llama.cpp (bin/train)")
    p.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="of one run (900)")
    p.add_argument("--out", type=Path, default=Path("runs/bench-generate"), help="name of the results without ending (runs/bench-generate)")
    a = p.parse_args()
    if not a.smoke and bool(a.model) == bool(a.random):
        p.error("give one of --model DIR and --random NAME")
    a.infer, a.train = a.infer.resolve(), a.train.resolve()
    return a


def work_of(a, device, scratch):
    model = a.model
    if a.smoke or a.random:
        config = cases.SMOKE[0].config if a.smoke else CONFIGS.get(a.random)
        model = a.random
        if config is not None:
            model = scratch / "model"
            model.mkdir()
            (model / "config.json").write_text(json.dumps(config))
    short = a.quick or a.smoke
    batches = "1,2" if a.smoke else "1,8" if a.quick and device == "cpu" else "1,8,64"
    batches = tuple(map(int, (a.batch or batches).split(",")))
    whole = math.lcm(*batches)
    prompt_tokens = a.prompt_tokens or (16 if a.smoke else 32 if short else 128)
    return Work(
        model=str(Path(model).resolve()), random=bool(a.random or a.smoke), device=device,
        precision=a.precision or ("bf16" if device == "cuda" else "float32"),
        batches=batches, prompt_tokens=prompt_tokens,
        prompts=prompts.beginnings(a.prompts, a.infer, model, -(-TEXTS // whole) * whole, prompt_tokens) if a.prompts else None,
        new_tokens=a.new_tokens or (16 if a.smoke else 64 if short else 128),
    )


class Session:
    """All that one call measures, written down after each run."""

    def __init__(self, a, work, gpu):
        self.out = a.out
        version = subprocess.run([a.infer, "--version"], capture_output=True, text=True).stdout.split()
        self.results = {
            "command": "python3 " + shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
            "time": time.strftime("%Y-%m-%d %H:%M:%S %Z"), "hardware": machine.describe(gpu)[1], "load_average": os.getloadavg()[0],
            "versions": {"longform": version[-1] if version else "unknown"}, "work": vars(work) | {"model": Path(work.model).name, "prompts": len(work.prompts or [])},
            "weight_bytes": weight_bytes(work.model, work.precision), "memory": [], "sides": {},
        }

    def memory(self, device, python):
        m = measure.run([python, "-m", "peers.stream", device], read_peer, None, cwd=HERE, timeout=120)
        if m.about:
            self.results["memory"].append(m.about)
            self.write()
        else:
            print("without memory's speed: not installed: torch or numpy")

    def add(self, side, run):
        self.results["versions"] |= run.about.pop("versions", {})
        self.results["sides"].setdefault(side, []).append(
            {"error": run.error, "peak_bytes": run.peak_bytes} | {k: v for k, v in run.about.items() if k.startswith("batch ")})
        self.write()

    def write(self):
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.with_suffix(".json").write_text(json.dumps(self.results, indent=1) + "\n")
        self.out.with_suffix(".md").write_text("\n".join(markdown(self.results)) + "\n")


def markdown(r):
    """The table, the conditions first and the command last."""
    w = r["work"]
    yield f"{r['hardware']}; {', '.join(f'{k} {v}' for k, v in r['versions'].items())}. Load average at the start {r['load_average']:.1f}."
    yield (f"{w['model']}{' (random weights)' if w['random'] else ''}, {w['precision']}, {r['weight_bytes'] / 1e9:.2f} GB of weights; "
           f"{str(w['prompts']) + ' texts begun with' if w['prompts'] else 'numbers as prompts of'} {w['prompt_tokens']} tokens, {w['new_tokens']} written.")
    speed = max((max(m["read_bytes_per_second"], m["copy_bytes_per_second"]) for m in r["memory"]), default=None)
    yield "A single row's tokens are guessed by longform and by transformers with prompt_lookup_num_tokens, and by nobody else."
    if speed:
        read, copy = (max(m[f"{k}_bytes_per_second"] for m in r["memory"]) / 1e9 for k in ("read", "copy"))
        yield f"Memory in the same session: {read:.1f} GB/s read, {copy:.1f} GB/s copied ({r['memory'][0]['by']})."
    yield ""
    columns = ["batch", "program", "tokens/s", "slowest to fastest round", "first token", "of memory's speed", "longform: speed", "without guesses", "same ids"]
    yield "| " + " | ".join(columns) + " |"
    yield "| --- " * len(columns) + "|"
    for rows in w["batches"]:
        good = {side: [run[f"batch {rows}"] for run in runs if f"batch {rows}" in run] for side, runs in r["sides"].items()}
        ours, steps = good.get("ours"), good.get("ours-steps")
        for side, runs in good.items():
            if not runs:
                errors = [run["error"] for run in r["sides"][side] if run["error"]]
                if not errors or rows > 1 and looks_up(side):
                    continue  # it doesn't write so many
                yield f"| {rows} | {described(side)} | failed: {errors[0].replace('|', '/')} |" + " |" * 6
                continue
            rates = [run["tokens_per_second"] for run in runs]
            share = f"{median(rates) * r['weight_bytes'] / speed:.0%}" if speed and rows == 1 and side != "ours" and not looks_up(side) else ""
            same = ""
            ratio, plain = (
                f"{median(run['tokens_per_second'] for run in own) / median(rates):.2f}x" if own and side not in ("ours", "ours-steps") else ""
                for own in (ours, steps))
            if ours and side != "ours":
                same = f"{agreeing(ours[0]['token_ids'], runs[0]['token_ids'])} of {w['new_tokens']}" if not w["random"] else ""
            yield (f"| {rows} | {described(side)} | {median(rates):,.1f} | {min(rates):,.1f} to {max(rates):,.1f} ({len(rates)}) | "
                   f"{median(run['first_token_seconds'] for run in runs):.3f} s | {share} | {ratio} | {plain} | {same} |")
    yield ""
    yield "```"
    yield r["command"]
    yield "```"


def agreeing(a, b):
    """How many ids are the same before the first that isn't."""
    return next((at for at, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def measure_all(a, work, gpu, scratch):
    if os.getloadavg()[0] > 0.5 * os.cpu_count():
        print("bench: other programs are busy here, and will be in the figures; torch suffers most on a CPU")
    writers = Writers(work, scratch, a.infer, a.train, dict(s.split("=", 1) for s in a.python))
    sides = ["ours"] if a.smoke else ["ours", "ours-steps", "hf", "hf-lookup", "llamacpp"] if work.device == "cpu" or a.quick else list(DESCRIPTIONS)
    if a.sides:
        sides = a.sides.split(",")
        if unknown := set(sides) - set(DESCRIPTIONS):
            sys.exit(f"bench: no program {', '.join(sorted(unknown))}; there are {', '.join(DESCRIPTIONS)}")
    for side in list(sides):
        if why := writers.missing(side):
            print(f"without {DESCRIPTIONS[side]}: {why}")
            sides.remove(side)
    if "llamacpp" in sides:
        writers.gguf()
    sides += [f"ours-steps {flags}" for flags in xla_flags.chosen(a.flags, xla_flags.WRITING)]
    begun, session, longest = time.monotonic(), Session(a, work, gpu), {}
    for number in range(1, (a.rounds or (1 if a.smoke else 2 if a.quick else 3)) + 1):
        if not a.smoke:
            session.memory(work.device, writers.pythons.get("hf", sys.executable))
        for side in list(sides):
            left = a.budget - (time.monotonic() - begun) if a.budget else None
            if left is not None and left < longest.get(side, 0):
                continue
            started, limit = time.monotonic(), min(a.timeout, left or a.timeout)
            run = writers.run(side, gpu, limit)
            longest[side] = time.monotonic() - started
            session.add(side, run)
            if run.error:
                sides.remove(side)
            rates = ", ".join(f"{k.removeprefix('batch ')}: {v['tokens_per_second']:,.1f}" for k, v in run.about.items() if k.startswith("batch "))
            print(f"round {number}  {side:12}  {rates or 'failed'}  {run.error}", flush=True)
    return session


def main():
    a = parse()
    if not a.infer.exists():
        sys.exit(f"bench: no program {a.infer}; build it with make, or name it with --infer")
    gpu = machine.find_gpu() if a.device != "cpu" and not a.smoke else None
    if a.device == "cuda" and gpu is None:
        sys.exit("bench: nvidia-smi lists no GPU; take --device cpu")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=machine.roomiest("/tmp", "/dev/shm")) as scratch:
        work = work_of(a, "cuda" if gpu else "auto" if a.smoke else "cpu", Path(scratch))
        session = measure_all(a, work, gpu, Path(scratch))
    print("\n" + a.out.with_suffix(".md").read_text())
    if not any("batch 1" in run for run in session.results["sides"].get("ours", [{}])) and a.smoke:
        sys.exit("bench: ours ran without a figure")


if __name__ == "__main__":
    main()

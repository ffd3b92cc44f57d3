#!/usr/bin/env python3
"""Measures servers of OpenAI's interface under load: tokens a second and latencies with 1, 8 and 64 clients.

    make && python3 bench/serve.py --model DIR --prompts FILE.jsonl                       infer serve, llama-server, vllm
    make && python3 bench/serve.py --model DIR --prompts FILE.jsonl --quick --budget 480  fewer clients and texts: minutes
    python3 bench/serve.py --url http://HOST:PORT --prompts FILE.jsonl                    any server that runs already

Needs bin/infer, and of this Python nothing. llama-server (which needs --gguf FILE of the same weights) and vllm are measured
where they are in the path. FILE has a JSON object a line with "prompt", "input", "instruction" or "text", or is a JSON list
of them; prompts are cut to lengths spread from 8 to 256 words,
fewer where the model can't read as many.

Each client streams a completion and then asks for the next one, as many as --requests. Texts are of half, once and one and a
half times --new-tokens, the likeliest tokens, no end token ending them. Each load goes before itself unmeasured, the words
of its prompts reversed, so that programs are compiled and nothing is remembered. Servers alternate, started anew in each round. Time to the first piece of a text, seconds a
token after it, and the gaps between pieces, of which a server may send one for several tokens, are percentiles over all
texts. Clients run on the same machine, and take some of it.

Results go to --out as .json and .md after each load, so a run that is stopped has what it measured.
"""

import argparse
import json
import math
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import load
import machine
import prompts
import servers

ROOT = Path(__file__).resolve().parent.parent
WORDS = (8, 256)  # of the shortest and the longest prompt
TOKENS_PER_WORD = 3  # at most, in room for it


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", help="a directory with a model's weights")
    p.add_argument("--gguf", help="the same weights for llama-server; train export --gguf writes them")
    p.add_argument("--url", help="a server that runs already, instead")
    p.add_argument("--key", default=os.environ.get("OPENAI_API_KEY", ""), help="its API key (OPENAI_API_KEY)")
    p.add_argument("--prompts", type=Path, metavar="FILE", help="JSONL or a JSON list")
    p.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where nvidia-smi lists a GPU")
    p.add_argument("--clients", metavar="N,...", help="at once (1,8,64)")
    p.add_argument("--requests", type=int, help="of each client (4)")
    p.add_argument("--new-tokens", type=int, help="of a text, on average (128)")
    p.add_argument("--quick", action="store_true", help="two texts of 32 tokens for each client, one round; on a CPU not 64 clients")
    p.add_argument("--smoke", action="store_true", help="only check that ours runs and is read: a tiny model, no peers")
    p.add_argument("--budget", type=float, metavar="SECONDS", help="start no load that would likely end later than this")
    p.add_argument("--rounds", type=int, help="of each server (2)")
    p.add_argument("--servers", metavar="NAME,...", help="only these: " + ", ".join(servers.DESCRIPTIONS))
    p.add_argument("--infer", type=Path, default=ROOT / "bin/infer", help="our program (bin/infer)")
    p.add_argument("--serve-args", type=shlex.split, default=[], metavar="'--x y ...'", help="more flags of infer serve")
    p.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="of one text, and of a start (900)")
    p.add_argument("--out", type=Path, default=Path("runs/bench-serve"), help="name of the results without ending (runs/bench-serve)")
    a = p.parse_args()
    if a.smoke:
        a.model, a.prompts, a.servers, a.device = ROOT / "models/testdata/llama-tiny", ROOT / "data/demo/prompts.jsonl", "ours", "cpu"
    if bool(a.model) == bool(a.url) or not a.prompts:
        p.error("give --prompts FILE and one of --model DIR and --url URL")
    gpu = machine.find_gpu() if a.device != "cpu" else None
    a.device = a.device or ("cuda" if gpu else "cpu")
    a.hardware = machine.describe(gpu)[1]
    a.clients = [int(n) for n in (a.clients or ("1,2" if a.smoke else "1,8" if a.quick and a.device == "cpu" else "1,8,64")).split(",")]
    a.requests = a.requests or (2 if a.quick or a.smoke else 4)
    a.new_tokens = a.new_tokens or (8 if a.smoke else 32 if a.quick else 128)
    a.rounds = a.rounds or (1 if a.quick or a.smoke else 2)
    a.infer = a.infer.resolve()
    a.room = -(-(TOKENS_PER_WORD * WORDS[1] + 2 * a.new_tokens) // 256) * 256
    if a.model:
        config = json.loads((Path(a.model) / "config.json").read_text())
        a.room = min(a.room, config.get("max_position_embeddings", a.room))
    return a


def prompts_of(path, most):
    """The file's prompts, cut to lengths of at most so many words, spread evenly on a logarithmic scale."""
    texts = prompts.texts(path)
    if not texts:
        sys.exit(f"bench: {path} has no prompts")
    lengths = [round(WORDS[0] * math.exp(at * 0.618 % 1 * math.log(most / WORDS[0]))) for at in range(len(texts))]
    return [" ".join(text.split()[:length]) for text, length in zip(texts, lengths)]


def requests_of(texts, a, clients, first):
    """(prompt, tokens) of each request, other prompts for each first."""
    half = max(1, a.new_tokens // 2)
    return [(texts[(first + i) % len(texts)], half * (1 + i % 3)) for i in range(clients * a.requests)]


def percentiles(values):
    values = sorted(values)
    return {f"p{p}": values[min(len(values) - 1, math.ceil(p / 100 * len(values)) - 1)] for p in (50, 95, 99)} if values else {}


class Session:
    """All that one call measures, written down after each load."""

    def __init__(self, a):
        self.out = a.out
        self.results = {
            "command": "python3 " + shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
            "time": time.strftime("%Y-%m-%d %H:%M:%S %Z"), "hardware": a.hardware, "load_average": os.getloadavg()[0],
            "model": Path(a.model).name if a.model else a.url, "new_tokens": a.new_tokens, "requests": a.requests,
            "clients": a.clients, "versions": {}, "loads": [],
        }

    def add(self, server, clients, number, seconds, texts):
        whole = [t for t in texts if not t.error]
        self.results["loads"].append({
            "server": server, "clients": clients, "round": number, "seconds": seconds,
            "tokens": sum(t.tokens for t in whole), "texts": len(whole), "errors": [t.error for t in texts if t.error],
            "first": [t.first for t in whole], "per_token": [t.per_token for t in whole], "gaps": [g for t in whole for g in t.gaps],
        })
        self.write()
        return sum(t.tokens for t in whole) / seconds

    def write(self):
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.with_suffix(".json").write_text(json.dumps(self.results) + "\n")
        self.out.with_suffix(".md").write_text("\n".join(markdown(self.results)) + "\n")


def markdown(r):
    """The table, the conditions first and the command last."""
    versions = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
    yield f"{r['hardware']}{'; ' + versions if versions else ''}. Load average at the start {r['load_average']:.1f}."
    yield f"{r['model']}, texts of {r['new_tokens']} tokens on average, {r['requests']} for each client."
    yield ""
    columns = ["clients", "server", "tokens/s", "slowest to fastest round", "of one client's", "first token p50, p95, p99", "a token", "gaps", "failed"]
    yield "| " + " | ".join(columns) + " |"
    yield "| --- " * len(columns) + "|"

    def rates(server, clients):
        return [l["tokens"] / l["seconds"] for l in r["loads"] if l["server"] == server and l["clients"] == clients]

    def spread(loads, what):
        return ", ".join(f"{1000 * x:,.{0 if x >= 0.01 else 1}f}" for x in percentiles([x for l in loads for x in l[what]]).values()) + " ms"

    for clients in r["clients"]:
        for server in dict.fromkeys(l["server"] for l in r["loads"]):
            loads = [l for l in r["loads"] if l["server"] == server and l["clients"] == clients]
            if not loads:
                continue
            found, alone = rates(server, clients), rates(server, 1)
            ratio = f"{median(found) / median(alone):.2f}x" if alone and median(alone) else ""
            failed = [error for l in loads for error in l["errors"]]
            yield (f"| {clients} | {servers.DESCRIPTIONS.get(server, server)} | {median(found):,.1f} | {min(found):,.1f} to {max(found):,.1f} ({len(found)}) | {ratio} | "
                   f"{spread(loads, 'first')} | {spread(loads, 'per_token')} | {spread(loads, 'gaps')} | "
                   f"{f'{len(failed)}: {failed[0]}'.replace('|', '/')[:200] if failed else 0} |")
    yield ""
    yield "```"
    yield r["command"]
    yield "```"


class Measurement:
    def __init__(self, a):
        self.a, self.texts, self.session = a, prompts_of(a.prompts, max(WORDS[0], min(WORDS[1], (a.room - 2 * a.new_tokens) // TOKENS_PER_WORD))), Session(a)
        self.begun, self.longest = time.monotonic(), {}

    def loads(self, name, number, server, model):
        """Every load in turn, each once to warm up."""
        per_client = 0  # seconds of a load, itself to warm up included, at most
        for clients in self.a.clients:
            at = (name, clients)
            likely = self.longest.get(at, per_client * clients)
            if self.a.budget and time.monotonic() - self.begun + likely > self.a.budget:
                print(f"round {number}  {name:12}  {clients:3} clients  not within the budget", flush=True)
                continue
            started, work = time.monotonic(), requests_of(self.texts, self.a, clients, number * 1000)
            load.run(server, model, clients, [(" ".join(reversed(text.split())), tokens) for text, tokens in work], self.a.timeout)
            seconds, texts = load.run(server, model, clients, work, self.a.timeout)
            rate = self.session.add(name, clients, number, seconds, texts)
            self.longest[at], per_client = time.monotonic() - started, 2 * seconds / clients
            print(f"round {number}  {name:12}  {clients:3} clients  {rate:,.1f} tokens/s, {sum(bool(t.error) for t in texts)} failed", flush=True)


def main():
    a = parse()
    if os.getloadavg()[0] > 0.5 * os.cpu_count():
        print("bench: other programs are busy here, and will be in the figures")
    m = Measurement(a)
    if a.url:
        server = load.Server(a.url, a.key)
        model = server.model() or sys.exit(f"bench: no model at {a.url}")
        for number in range(1, a.rounds + 1):
            m.loads(a.url, number, server, model)
    else:
        names = a.servers.split(",") if a.servers else list(servers.DESCRIPTIONS)
        if unknown := set(names) - set(servers.DESCRIPTIONS):
            sys.exit(f"bench: no server {', '.join(sorted(unknown))}; there are {', '.join(servers.DESCRIPTIONS)}")
        for name in list(names):
            if why := servers.missing(name, a):
                print(f"without {servers.DESCRIPTIONS[name]}: {why}")
                names.remove(name)
            else:
                m.session.results["versions"][name] = servers.version(name, a)
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            for number in range(1, a.rounds + 1):
                for name in names:
                    try:
                        with servers.started(name, a, max(a.clients), a.room, f"{scratch}/{name}.log") as (server, model):
                            m.loads(name, number, server, model)
                    except RuntimeError as e:
                        print(f"round {number}  {name:12}  failed: {e}", flush=True)
    if not m.session.results["loads"]:
        sys.exit("bench: nothing was measured")
    print("\n" + a.out.with_suffix(".md").read_text())
    if a.smoke and any(l["errors"] for l in m.session.results["loads"]):
        sys.exit("bench: ours failed to write a text")


if __name__ == "__main__":
    main()

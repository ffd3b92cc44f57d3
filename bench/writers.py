"""The programs whose writing is compared: how each is told what to write, started, and read."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import measure
from sides import HERE, read_peer

DESCRIPTIONS = {
    "ours": "longform", "ours-steps": "longform --no-lookup", "hf": "transformers generate",
    "hf-lookup": "transformers generate, prompt_lookup_num_tokens=10", "hf-compile": "transformers generate, static cache, compiled",
    "llamacpp": "llama.cpp",
}


@dataclass(frozen=True)
class Peer:
    module: str
    needs: tuple  # packages
    compile: bool = False
    lookup: int = 0  # tokens


PEERS = {
    "hf": Peer("peers.hf_generate", ("torch", "transformers")),
    "hf-compile": Peer("peers.hf_generate", ("torch", "transformers"), compile=True),
    "hf-lookup": Peer("peers.hf_generate", ("torch", "transformers"), lookup=10),  # its candidate generator's default
    "llamacpp": Peer("peers.llamacpp_generate", ("llama_cpp",)),
}


def described(side):
    """A program in words; our own with XLA flags is its name and they."""
    name, _, flags = side.partition(" ")
    return f"{DESCRIPTIONS[name]}, {flags}" if flags else DESCRIPTIONS[name]


def looks_up(side):
    """Whether it is a peer that guesses, as transformers does for a single row only."""
    return side in PEERS and PEERS[side].lookup > 0


@dataclass(frozen=True)
class Work:
    """What every program writes."""

    model: str  # a directory
    random: bool  # draw the weights, and read config.json alone
    device: str
    precision: str
    batches: tuple
    prompt_tokens: int
    new_tokens: int
    prompts: list | None  # of ids, a list each; numbers where there are none


class Writers:
    """Programs made ready in a scratch directory."""

    def __init__(self, work, scratch, infer, train, pythons):
        self.work, self.scratch, self.infer, self.train, self.pythons = work, scratch, infer, train, pythons

    def missing(self, side):
        """Why a program can't be measured; empty if it can."""
        if side.startswith("ours"):
            return ""
        if side == "llamacpp" and self.work.random:
            return "it needs a file of weights"
        if looks_up(side) and 1 not in self.work.batches:
            return "it writes one row, and --batch has no 1"
        python = self.pythons.get(side)
        if python is None:
            lacking = [name for name in PEERS[side].needs if not importlib.util.find_spec(name)]
        else:
            code = "import importlib.util, sys; print(*(n for n in sys.argv[1:] if not importlib.util.find_spec(n)))"
            lacking = subprocess.run([python, "-c", code, *PEERS[side].needs], capture_output=True, text=True, check=True).stdout.split()
        return f"not installed: {', '.join(lacking)}" if lacking else ""

    def run(self, side, gpu, timeout):
        """Measures one process that writes a batch of each size to warm up, and then all of them."""
        w = self.work
        if looks_up(side):
            w = replace(w, batches=(1,))  # transformers refuses more
        last = len(w.batches)
        side, _, flags = side.partition(" ")
        cache = self.scratch / "cache" / re.sub(r"\W+", "-", side + flags)  # compiled programs are found again in the next round, and by nobody else
        cache.mkdir(parents=True, exist_ok=True)
        env = os.environ | {
            "XDG_CACHE_HOME": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
            "TRITON_CACHE_DIR": str(cache / "triton"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        }
        if flags:
            env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {flags}".strip()
        if side.startswith("ours"):
            command = [
                self.infer, "bench", "--model", w.model, "--device", w.device, "--precision", w.precision,
                "--batch", ",".join(map(str, w.batches)), "--prompt-tokens", str(w.prompt_tokens),
                "--new-tokens", str(w.new_tokens), "--repeats", "1", "--json", *(["--random"] if w.random else []),
                *(["--no-lookup"] if side == "ours-steps" else []), *(["--prompts", self.prompts()] if w.prompts else []),
            ]
            return measure.run(list(map(str, command)), reader(), last, gpu, timeout=timeout, env=env)
        spec = self.scratch / f"{side}.json"
        spec.write_text(json.dumps(vars(w) | {
            "compile": PEERS[side].compile, "lookup": PEERS[side].lookup, "threads": len(os.sched_getaffinity(0)),
            "gguf": str(self.gguf()) if side == "llamacpp" else None,
        }))
        command = [self.pythons.get(side, sys.executable), "-m", PEERS[side].module, str(spec)]
        return measure.run(command, read_peer, last, gpu, timeout=timeout, env=env, cwd=HERE)

    def prompts(self):
        """The work's prompts in a file."""
        path = self.scratch / "prompts.json"
        path.write_text(json.dumps(self.work.prompts))
        return path

    def gguf(self):
        """The same weights in a file of llama.cpp."""
        path = self.scratch / "model.gguf"
        if not path.exists():
            kind = "bf16" if self.work.precision == "bf16" else "f32"
            subprocess.run([self.train, "export", "--gguf", kind, self.work.model, path], check=True, capture_output=True)
        return path


def reader():
    """Reads the lines of infer bench, a batch each."""
    done = 0

    def read(line):
        nonlocal done
        if not line.startswith('{"batch":'):
            return None
        said = json.loads(line)
        done += 1
        return {"step": done, f"batch {said['batch']}": {
            "first_token_seconds": said["first_token_seconds"][0], "tokens_per_second": said["tokens_per_second"][0],
            "token_ids": said["token_ids"], "compile_seconds": said["compile_seconds"],
        }}

    return read


def weight_bytes(model, precision):
    """What decoding a token reads of the weights: all but an embedding that isn't the output layer, too."""
    from_config = json.loads((Path(model) / "config.json").read_text())
    return parameters(from_config) * (2 if precision == "bf16" else 4)


def parameters(c):
    """Of a llama's matrices, which are all but a thousandth of it."""
    width, heads = c["hidden_size"], c["num_attention_heads"]
    head = c.get("head_dim") or width // heads
    attention = 2 * width * head * (heads + (c.get("num_key_value_heads") or heads))
    layer = attention + 3 * width * c["intermediate_size"]
    return c["num_hidden_layers"] * layer + c["vocab_size"] * width

"""The programs that are compared: how each is told a case, started, and read."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import measure
import records
from peers.report import MARK

HERE = Path(__file__).resolve().parent
LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Peer:
    module: str
    needs: tuple  # packages, besides peft for LoRA
    loop: str = "trainer"
    compile: bool = False
    packing: str = "none"


PEERS = {
    "hf": Peer("peers.hf", ("torch", "transformers", "accelerate")),
    "hf-compile": Peer("peers.hf", ("torch", "transformers", "accelerate"), compile=True),
    "hf-padded": Peer("peers.hf", ("torch", "transformers", "accelerate")),
    "hf-packed": Peer("peers.hf", ("torch", "transformers", "accelerate"), packing="blocks"),
    "torch": Peer("peers.hf", ("torch", "transformers"), loop="plain"),
    "jax": Peer("peers.jax_llama", ("jax", "numpy")),
}
DESCRIPTIONS = {
    "ours": "longform", "ours-padded": "longform, padded", "hf": "transformers Trainer",
    "hf-compile": "transformers Trainer, torch.compile", "hf-padded": "transformers Trainer, padded",
    "hf-packed": "transformers Trainer, packed", "torch": "transformers, plain torch loop", "jax": "plain JAX",
}


def missing(side, case):
    """The packages that a side lacks for a case."""
    if side not in PEERS:
        return []
    needs = PEERS[side].needs + (("peft",) if case.lora else ())
    return [name for name in needs if not importlib.util.find_spec(name)]


class Bench:
    """A case made ready in a directory: the model's configuration and the records, for all sides."""

    def __init__(self, case, device, directory, train):
        self.case, self.device, self.directory, self.train = case, device, directory, train
        directory.mkdir(parents=True)
        self.records, self.tokens = records.write(directory, case)

    def window(self, side):
        """(steps, useful tokens) of a window: for a ragged case one pass over its records."""
        case = self.case
        if not case.ragged:
            return case.window, case.window * case.batch * (case.length + case.target_length)
        rows = -(-self.tokens // case.length) if packs(side) else self.records
        return -(-rows // case.batch), self.tokens

    def steps(self, side):
        """(steps of a window, steps of a whole run)."""
        window, _ = self.window(side)
        return window, window * (self.case.warmup + self.case.windows)

    def run(self, side, flags, gpu, timeout):
        """Measures one process of at most timeout seconds. flags are XLA's, for our side."""
        window, last = self.steps(side)
        # Compiled programs are found again in the next round, and by nobody else.
        cache = self.directory / "cache" / re.sub(r"\W+", "-", side + flags)
        cache.mkdir(parents=True, exist_ok=True)
        env = os.environ | {
            "XDG_CACHE_HOME": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
            "TRITON_CACHE_DIR": str(cache / "triton"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        }
        if side not in PEERS:
            if flags:
                env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {flags}".strip()
            command = [str(self.train), "run", "-c", str(self.configuration(side, window, last))]
            m = measure.run(command, read_ours, last, gpu, kill=True, timeout=timeout, env=env)
            if not m.error:
                m.about["planned_bytes"] = self.planned(env)
                m.about["allocated_bytes"] = self.logged("peak_memory")
            subprocess.run(["rm", "-rf", str(self.directory / "run")], check=True)
            return m
        peer, spec = PEERS[side], self.directory / "spec.json"
        spec.write_text(json.dumps({
            "directory": str(self.directory), "device": self.device, "batch": self.case.batch, "length": self.case.length,
            "encoder_decoder": self.case.encoder_decoder, "precision": self.case.precision, "lora": self.case.lora,
            "checkpointing": self.case.checkpointing, "clip": self.case.clip, "loop": peer.loop, "compile": peer.compile, "packing": peer.packing,
            "window": window, "steps": last, "lr": LEARNING_RATE,
        }))
        command = [sys.executable, "-m", peer.module, str(spec)]
        return measure.run(command, read_peer, last, gpu, timeout=timeout, env=env, cwd=HERE)

    def configuration(self, side, window, last):
        """Writes the file for `train run`: YAML, of which JSON is a part."""
        case, path = self.case, self.directory / "config.yaml"
        data = {"train": str(self.directory / "records.jsonl"), "order": "file", "eoi": "none", "max_length": case.length}
        if packs(side) and not case.encoder_decoder:
            data["packing"] = "blocks"
        if case.encoder_decoder:
            data["max_target_length"] = case.target_length
        model = {"path": str(self.directory), "init": "random", "precision": case.precision}
        if case.checkpointing:
            model["gradient_checkpointing"] = "layer"
        if case.lora:
            model["lora"] = {"enabled": True, "rank": 8, "alpha": 16}
        path.write_text(json.dumps({
            "model": model, "data": data, "optim": {"lr": LEARNING_RATE, "clip_norm": case.clip},
            "run": {"dir": str(self.directory / "run"), "steps": last + 1, "batch_size": case.batch, "log_every": window},
            "checkpoint": {"async": False, "keep": 1}, "device": {"backend": self.device},
        }, indent=2))
        return path

    def logged(self, what):
        """The last figure under a name in the log of our run; None if there is none."""
        lines = (self.directory / "run" / "metrics.jsonl").read_text().split("\n")[:-1]  # complete ones
        figures = [figure for line in lines if (figure := json.loads(line).get(what)) is not None]
        return figures[-1] if figures else None

    def planned(self, env):
        """What `train plan` says that the run takes on the device, in bytes; None where it doesn't."""
        command = [str(self.train), "plan", "-c", str(self.directory / "config.yaml"), "--json"]
        said = subprocess.run(command, capture_output=True, text=True, env=env).stdout
        try:
            return json.loads(said)["peak_bytes"]
        except (ValueError, KeyError):
            return None


def packs(side):
    """Whether a side joins records to full rows."""
    return side in ("ours", "hf-packed")


def read_ours(line):
    if found := re.match(r"step (\d+)/\d+  loss", line):
        return {"step": int(found[1])}
    if found := re.match(r"device .*\(PJRT ([\d.]+)", line):
        return {"versions": {"PJRT": found[1]}}
    return None


def read_peer(line):
    return json.loads(line[len(MARK):]) if line.startswith(MARK) else None

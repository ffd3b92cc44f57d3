"""The prompts that every program writes after."""

import json
import subprocess
import sys


def ids(row, length, vocabulary):
    """Numbers, so that no tokenizer is needed. As `infer bench --help` says."""
    return [vocabulary // 4 + (7919 * row + 31 * at) % (vocabulary // 2) for at in range(length)]


def batches(spec, rows, vocabulary):
    """Lists of so many rows: those of the work's prompts, or numbers."""
    if not spec["prompts"]:
        return [[ids(row, spec["prompt_tokens"], vocabulary) for row in range(rows)]]
    return [spec["prompts"][at:at + rows] for at in range(0, len(spec["prompts"]), rows)]


def texts(path):
    """Those of a file of JSON objects, one a line or a list of them."""
    raw = path.read_text()
    records = json.loads(raw) if raw.lstrip().startswith("[") else [json.loads(line) for line in raw.splitlines() if line.strip()]
    found = [next((record[key] for key in ("prompt", "input", "instruction", "text") if record.get(key)), "") for record in records]
    return [text for text in found if text.strip()]


def beginnings(path, infer, model, number, length):
    """Token ids of the first texts that have so many, cut to them."""
    lines = "".join(json.dumps(text) + "\n" for text in texts(path))
    said = subprocess.run([infer, "tokenize", "--model", model, "--json"], input=lines, capture_output=True, text=True)
    if said.returncode:
        sys.exit(f"bench: {said.stderr.strip()}")
    begun = [ids[:length] for line in said.stdout.splitlines() if len(ids := json.loads(line)["ids"]) >= length]
    if len(begun) < number:
        sys.exit(f"bench: {path} has {len(begun)} texts of at least {length} tokens, and {number} are needed")
    return begun[:number]

"""Synthetic records, and a tokenizer whose token n is the word "w<n>", so that every program sees the same ids."""

import json
import math
import random

from cases import EOS, PAD

# Shares of LongForm's sources, and mean and deviation of their outputs' words. Published are those of C4 and Wikipedia
# (Köksal et al., 2023); the others are our guess.
LONGFORM = (
    (10000, 408, 263),  # C4
    (5000, 57, 43),  # Wikipedia
    (4380, 200, 180),  # Stack Exchange
    (2500, 400, 260),  # WikiHow
    (3684, 100, 90),  # Natural Instructions
    (600, 100, 90),  # BigBench
    (1203, 220, 120),  # BEA-GEC
    (372, 150, 130),  # Enron
)
INSTRUCTION = (25, 15)  # words, likewise
TOKENS_PER_WORD = 1.33


def write(directory, case, seed=0):
    """Writes config.json, tokenizer.json and records.jsonl; returns (records, tokens) of the last."""
    vocabulary = {"<pad>": PAD, "<s>": 1, "</s>": EOS}
    vocabulary |= {f"w{i}": i for i in range(len(vocabulary), case.config["vocab_size"])}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>"},
    }
    for name, content in ("config.json", case.config), ("tokenizer.json", tokenizer):
        (directory / name).write_text(json.dumps(content))
    rng = random.Random(seed)
    count = tokens = 0
    with open(directory / "records.jsonl", "w") as f:
        for lengths in lengths_of(case, rng):
            fields = zip(("input", "output"), (words(n, case, rng) for n in lengths))
            f.write(json.dumps(dict(fields)) + "\n")
            count += 1
            tokens += sum(lengths) + (not case.encoder_decoder)  # and its end of sequence
    return count, tokens


def words(n, case, rng):
    return " ".join(f"w{rng.randrange(3, case.config['vocab_size'])}" for _ in range(n))


def lengths_of(case, rng):
    """Tokens of each record's input and output."""
    if not case.ragged:  # fill rows exactly: eight batches, again and again
        whole = (case.length, case.target_length) if case.encoder_decoder else (8, case.length - 9)
        return [whole] * (8 * case.batch)
    # A shorter row than LongForm's 1024 gets records as much shorter.
    scale = TOKENS_PER_WORD * case.length / 1024
    rows = []
    for _ in range(12 * case.batch):
        (_, *output), = rng.choices(LONGFORM, [share for share, *_ in LONGFORM])
        prompt = min(max(2, round(scale * lognormal(rng, *INSTRUCTION))), case.length // 4)
        rows.append((prompt, min(max(2, round(scale * lognormal(rng, *output))), case.length - prompt - 1)))
    return rows


def lognormal(rng, mean, deviation):
    variance = math.log(1 + (deviation / mean) ** 2)
    return rng.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))


def read(path, encoder_decoder):
    """(input ids, labels) of each record, as every program here makes them."""
    def ids(text):
        return [int(word[1:]) for word in text.split()]

    with open(path) as f:
        for record in map(json.loads, f):
            source, target = ids(record["input"]), ids(record["output"])
            yield (source, target) if encoder_decoder else (source + target + [EOS],) * 2

"""LongForm records as transformers' tokenizers see them; shared by the scripts beside it."""

import json

import torch


def read(path, limit=None):
    """(input, output) of each record of a JSON array or a JSONL file, in file order."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    pairs = []
    for row in rows[:limit]:
        source = row.get("input") or ""
        if "instruction" in row:
            source = row["instruction"] + ("\n" + source if source else "")
        pairs.append((source, row["output"]))
    return pairs


def encode(tokenizer, seq2seq, source, output, max_length):
    """(input ids, labels) in the format of the model's family, cut at max_length.

    Causal: "{input} [EOI] {output}" and end of sequence, which a cut takes away; the labels
    are the ids themselves, since transformers shifts them. Encoder-decoder: input and output
    each as the tokenizer encodes it.
    """
    if seq2seq:
        return tokenizer(source)["input_ids"][:max_length], tokenizer(output)["input_ids"][:max_length]
    ids = tokenizer(f"{source} [EOI] {output}")["input_ids"] + [tokenizer.eos_token_id]
    return ids[:max_length], ids[:max_length]


def collate(examples, pad):
    """A batch padded on the right: input_ids, attention_mask, labels (-100 at padding)."""
    def padded(rows, fill):
        width = max(map(len, rows))
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

    inputs = [e[0] for e in examples]
    return dict(
        input_ids=padded(inputs, pad),
        attention_mask=padded([[1] * len(x) for x in inputs], 0),
        labels=padded([e[1] for e in examples], -100),
    )


def targets(batch, seq2seq):
    """Number of labels that count; a causal model predicts nothing at position 0."""
    labels = batch["labels"] if seq2seq else batch["labels"][:, 1:]
    return int((labels != -100).sum())

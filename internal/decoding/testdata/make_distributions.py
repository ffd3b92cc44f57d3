"""Writes distributions.json beside itself: what transformers' logits processors leave of some logits.

    python make_distributions.py

needs torch and transformers 5.23 or later. Each case has the probabilities of all tokens after the processors, in
transformers' order, with "tokens" before them.
"""

import json
import pathlib

import torch
from transformers.generation.logits_process import (
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

CASES = [
    dict(temperature=1.0),
    dict(temperature=0.5),
    dict(temperature=3.0),
    dict(temperature=1.0, top_k=3),
    dict(temperature=1.0, top_k=100),
    dict(temperature=1.0, top_p=0.9),
    dict(temperature=1.0, top_p=0.05),
    dict(temperature=1.0, top_p=0.999),
    dict(temperature=0.7, top_k=5, top_p=0.8),
    dict(temperature=2.0, top_k=8, top_p=0.95),
    dict(temperature=0.01, top_p=0.9),
    dict(temperature=1.0, min_p=0.1),
    dict(temperature=1.5, min_p=0.9),
    dict(temperature=1.0, typical_p=0.5),
    dict(temperature=1.0, typical_p=0.95),
    dict(temperature=1.3, top_k=10, top_p=0.9, min_p=0.05, typical_p=0.8),
    dict(temperature=1.0, repetition_penalty=1.5),
    dict(temperature=1.0, repetition_penalty=0.5),
    dict(temperature=1.0, no_repeat_ngram_size=1),
    dict(temperature=1.0, no_repeat_ngram_size=2),
    dict(temperature=1.0, no_repeat_ngram_size=3),
    dict(temperature=1.0, no_repeat_ngram_size=20),
    dict(temperature=1.0, min_new_tokens=3),
    dict(temperature=1.0, min_new_tokens=2),
    dict(temperature=0.8, repetition_penalty=1.2, no_repeat_ngram_size=2, min_new_tokens=3, top_k=12, top_p=0.9),
]
WRITTEN = 2  # of the tokens before, the others were the prompt
EOS = 4

torch.manual_seed(0)
logits = torch.randn(3, 20) * torch.tensor([[1.0], [3.0], [10.0]])
tokens = torch.tensor([[1, 2, 3, 9, 1, 2, 7, 1, 2], [5, 5, 5, 6, 5, 5, 5, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
made = [
    ("repetition_penalty", RepetitionPenaltyLogitsProcessor),
    ("no_repeat_ngram_size", NoRepeatNGramLogitsProcessor),
    ("min_new_tokens", lambda n: MinNewTokensLengthLogitsProcessor(tokens.shape[1] - WRITTEN, n, EOS)),
    ("temperature", TemperatureLogitsWarper),
    ("top_k", TopKLogitsWarper),
    ("top_p", TopPLogitsWarper),
    ("min_p", MinPLogitsWarper),
    ("typical_p", TypicalLogitsWarper),
]
cases = []
for case in CASES:
    scores = logits
    for name, make in made:
        if name in case:
            scores = make(case[name])(tokens, scores)
    cases.append(dict(case, probabilities=scores.softmax(-1).tolist()))
text = json.dumps(dict(logits=logits.tolist(), tokens=tokens.tolist(), written=WRITTEN, eos=EOS, cases=cases), separators=(",", ":"))
(pathlib.Path(__file__).parent / "distributions.json").write_text(text.replace("},{", "},\n{") + "\n")

"""Writes distributions.json beside itself: what transformers' logits warpers leave of some logits.

    python make_distributions.py

needs torch and transformers 5.23 or later. Each case has the probabilities of all tokens, after temperature, top-k and
top-p in this order.
"""

import json
import pathlib

import torch
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

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
]

torch.manual_seed(0)
logits = torch.randn(3, 20) * torch.tensor([[1.0], [3.0], [10.0]])
cases = []
for case in CASES:
    scores = TemperatureLogitsWarper(case["temperature"])(None, logits)
    if "top_k" in case:
        scores = TopKLogitsWarper(case["top_k"])(None, scores)
    if "top_p" in case:
        scores = TopPLogitsWarper(case["top_p"])(None, scores)
    cases.append(dict(case, probabilities=scores.softmax(-1).tolist()))
text = json.dumps(dict(logits=logits.tolist(), cases=cases), separators=(",", ":"))
(pathlib.Path(__file__).parent / "distributions.json").write_text(text.replace("},{", "},\n{") + "\n")

"""Writes cross_entropy.json: torch's loss of an output projection, and its gradients, in float64.

    python make_cross_entropy.py

needs torch.
"""

import json
from pathlib import Path

import torch

torch.manual_seed(0)
hidden = torch.randn(2, 5, 6)
hidden[0, 1] *= 1e3  # far beyond what exp can hold in float32
weight = torch.randn(11, 6)
labels = torch.randint(0, 11, (2, 5))
labels[0, 2] = labels[1, 0] = labels[1, 4] = -100

x, w = hidden.double().requires_grad_(), weight.double().requires_grad_()
losses = torch.nn.functional.cross_entropy((x @ w.T).flatten(0, 1), labels.flatten(), reduction="none")
losses.sum().backward()
Path(__file__).with_name("cross_entropy.json").write_text(json.dumps({
    "hidden": hidden.flatten().tolist(), "weight": weight.flatten().tolist(), "labels": labels.flatten().tolist(),
    "sums": losses.view(2, 5).sum(1).tolist(), "counts": (labels != -100).sum(1).tolist(),
    "by_hidden": x.grad.flatten().tolist(), "by_weight": w.grad.flatten().tolist(),
}) + "\n")

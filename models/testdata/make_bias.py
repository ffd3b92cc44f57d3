"""Writes bias_gradients.json into a T5 checkpoint's directory: what torch's gradient by its relative position biases is.

    python make_bias.py [DIR]

needs torch and transformers 5.23 or later. DIR is t5-gated-untied-old beside this script by default; it holds a model and
expected.json with a batch, both written by make_family.py. The gradients are of the loss summed over the batch, in float32:
encoder and decoder, each [buckets][heads].
"""

import json
import sys
from pathlib import Path

import torch
from transformers import T5ForConditionalGeneration

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("t5-gated-untied-old")
expected = json.loads((folder / "expected.json").read_text())
model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
labels = torch.tensor(expected["labels"])
loss = model(
    input_ids=torch.tensor(expected["input_ids"]), attention_mask=torch.tensor(expected["attention_mask"]), labels=labels,
).loss
assert abs(loss.item() - expected["loss"]) < 1e-5, "the checkpoint isn't the one of expected.json"
(loss * (labels != -100).sum()).backward()
(folder / "bias_gradients.json").write_text(json.dumps({
    side: getattr(model, side).block[0].layer[0].SelfAttention.relative_attention_bias.weight.grad.tolist()
    for side in ("encoder", "decoder")
}) + "\n")

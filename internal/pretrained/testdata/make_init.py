"""Writes init.json beside itself: how transformers starts the weights of models/testdata's tiny models.

    python make_init.py

needs torch and transformers 5.23 or later. For each weight of each model: its size, the mean, the standard deviation and
the largest absolute value of a drawing, and the rows that are all zero.
"""

import json
import pathlib

import torch
from transformers import AutoConfig, AutoModelForCausalLM, T5ForConditionalGeneration

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ["llama-tiny", "llama-bias", "opt-tiny", "opt-post-proj", "t5-tiny", "t5-relu-tied-old"]

out = {}
for name in MODELS:
    config = AutoConfig.from_pretrained(HERE / "../../../models/testdata" / name)
    kind = T5ForConditionalGeneration if config.model_type == "t5" else AutoModelForCausalLM
    torch.manual_seed(0)
    model = (kind if kind is T5ForConditionalGeneration else kind.from_config)(config)
    out[name] = {}
    for weight, p in model.named_parameters():
        p = p.detach().double()
        zero = torch.nonzero((p == 0).all(-1)).flatten().tolist() if p.dim() == 2 else []
        out[name][weight] = dict(
            size=p.numel(), mean=p.mean().item(), std=p.std(unbiased=False).item(), max=p.abs().max().item(), zero_rows=zero
        )
text = json.dumps(out, separators=(",", ":")).replace("},", "},\n")
(HERE / "init.json").write_text(text + "\n")

"""Writes FAMILY-lora/qlora.json: what transformers, PEFT and bitsandbytes make of training that adapter on 4-bit weights.

    python make_qlora.py

needs torch 2.15, transformers 5.23 or later, peft, accelerate and bitsandbytes 0.50.2, and reads FAMILY-lora and
models/testdata/FAMILY-tiny.

quantized   the modules that are kept in NF4: those that transformers chooses, and T5's wo, which it leaves out because wo
            overflows in float16
losses, grad_norms   of five steps as in make_lora.py
"""

import json
import pathlib

import bitsandbytes
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from bitsandbytes.functional import get_4bit_type
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5DenseGatedActDense, T5PreTrainedModel

HERE = pathlib.Path(__file__).resolve().parent
SETTINGS = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)

CODE = get_4bit_type("nf4", device="cpu")
LIBRARY = torch.library.Library("bitsandbytes", "IMPL")


def dequantize(packed, absmax, blocksize, quant_type, shape, dtype):
    """bitsandbytes' own generic code: its CPU kernel takes wrong scales where blocks don't end with rows."""
    return _dequantize_4bit_compute(packed.reshape(-1), absmax, CODE, blocksize, shape, dtype)


LIBRARY.impl("dequantize_4bit", dequantize, "CPU", allow_override=True)

# transformers would convert wo's input to the element type of wo's codes.
T5PreTrainedModel._keep_in_fp32_modules = None
T5DenseGatedActDense.forward = lambda self, x: self.wo(self.act(self.wi_0(x)) * self.wi_1(x))


def batch(records):
    """Pads records on the right."""
    def pad(rows, value):
        longest = max(map(len, rows))
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    ids = [r["input_ids"] for r in records]
    labels = [r["labels"] for r in records]
    return dict(input_ids=pad(ids, 0), attention_mask=pad([[1] * len(i) for i in ids], 0), labels=pad(labels, -100))


def make(family):
    base = HERE / f"../../../models/testdata/{family}-tiny"
    records = json.loads((base / "expected.json").read_text())["score"]
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = (T5ForConditionalGeneration if family == "t5" else AutoModelForCausalLM).from_pretrained(
        base, dtype=torch.float32, quantization_config=config, device_map="cpu")
    quantized = sorted(n for n, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit))
    model = PeftModel.from_pretrained(model, HERE / f"{family}-lora", is_trainable=True)
    model.eval()
    for m in model.modules():
        if isinstance(m, bitsandbytes.nn.Linear4bit):
            m.train()  # otherwise it computes in bfloat16 on some processors

    adapted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(adapted, **SETTINGS)
    losses, norms = [], []
    for step in range(5):
        at = 2 * step % len(records)
        loss = model(**batch(records[at : at + 2])).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(adapted, 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    text = json.dumps(dict(quantized=quantized, losses=losses, grad_norms=norms), indent=1)
    (HERE / f"{family}-lora" / "qlora.json").write_text(text + "\n")


for family in ("llama", "opt", "t5"):
    make(family)

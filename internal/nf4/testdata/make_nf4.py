"""Writes nf4.json: what bitsandbytes makes of some numbers in NF4, with blocks of 64, on CPU.

    python internal/nf4/testdata/make_nf4.py

Needs bitsandbytes 0.50.2 and torch 2.15.0.
"""

import json
from pathlib import Path

import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type, quantize_4bit

torch.manual_seed(1)
code = get_4bit_type("nf4", device="cpu")
bounds = (code[:-1] + code[1:]) / 2
edges = torch.zeros(7, 64)
edges[1, :15], edges[1, 63] = bounds, 1  # a number on a bound
edges[2, :15], edges[2, 63] = torch.nextafter(bounds, torch.tensor(2.0)), -1
edges[3, 5] = -3e-3
edges[4] = torch.randn(64) * 1e-39  # subnormal
edges[5] = torch.randn(64) * 1e37
edges[6] = torch.linspace(-1, 1, 64)

cases = {
    "normal": torch.randn(4, 64) * 0.02,
    "bfloat16": (torch.randn(2, 128) * 0.02).bfloat16().float(),
    "rows that cut blocks": torch.randn(4, 88),
    "a last block of 22": torch.randn(3, 50),
    "edges": edges,
}
expected = {"levels": code.tolist(), "cases": {}}
for name, values in cases.items():
    packed, state = quantize_4bit(values, blocksize=64, quant_type="nf4")
    expected["cases"][name] = {
        "values": values.flatten().tolist(),
        "codes": packed.flatten().tolist(),
        "absmax": state.absmax.tolist(),
        "decoded": dequantize_4bit(packed, state).flatten().tolist(),
    }
Path(__file__).with_name("nf4.json").write_text(json.dumps(expected) + "\n")

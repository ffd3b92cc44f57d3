"""Writes huggingface.safetensors with Hugging Face's own library, and
huggingface.json with the data of each tensor as hexadecimal text.

    pip install safetensors==0.8.0 torch numpy && python make_huggingface.py
"""

import json
import pathlib

import torch
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent
generator = torch.Generator().manual_seed(7)
tensors = {
    "wte.weight": torch.randn(3, 4, generator=generator),
    "h.0.ln.weight": torch.tensor([1.0, -2.5, 65504.0, 6e-8], dtype=torch.float16),
    "h.0.attn.weight": torch.randn(2, 3, 2, generator=generator).to(torch.bfloat16),
    "h.0.attn.mask": torch.tensor([[True, False], [True, True]]),
    "ids": torch.tensor([0, -1, 2**62]),
    "counts": torch.tensor([[1], [-(2**31)]], dtype=torch.int32),
    "bytes": torch.tensor([0, 127, 255], dtype=torch.uint8),
    "scalar": torch.tensor(3.25),
    "empty": torch.zeros(0, 5),
    "head.<tied> & \"quoted\" \u00e9": torch.tensor([1.5], dtype=torch.float64),
}
path = here / "huggingface.safetensors"
save_file(tensors, path, metadata={"format": "pt"})

dtypes = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.float64: "F64",
}
expected = {
    name: {
        "dtype": dtypes[t.dtype],
        "shape": list(t.shape),
        "data": t.reshape(-1).view(torch.uint8).numpy().tobytes().hex(),
    }
    for name, t in tensors.items()
}
lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in expected.items())
(here / "huggingface.json").write_text("{\n" + lines + "\n}\n")

"""Writes quants.gguf: what gguf-py makes of blocks of every format that it and we know, and of numbers.

usage: make_quants.py   (needs gguf 0.19.0 and numpy)

Tensor T/blocks holds blocks of the format T with random bits and scales, T/numbers what gguf.quants.dequantize makes of
them. Tensor numbers holds float32 and T/quantized what gguf.quants.quantize makes of them.
"""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as Type, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGUFValueType
from gguf.quants import dequantize, quantize

# Where the float16 scales of a block are, in bytes.
scales = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
random = np.random.default_rng(0)
w = GGUFWriter(pathlib.Path(__file__).parent / "quants.gguf", "none")
w.add_key_value("u8", 200, GGUFValueType.UINT8)
w.add_key_value("i8", -100, GGUFValueType.INT8)
w.add_key_value("u16", 60000, GGUFValueType.UINT16)
w.add_key_value("i16", -30000, GGUFValueType.INT16)
w.add_key_value("u32", 4000000000, GGUFValueType.UINT32)
w.add_key_value("i32", -2000000000, GGUFValueType.INT32)
w.add_key_value("u64", 1 << 63, GGUFValueType.UINT64)
w.add_key_value("i64", -(1 << 62), GGUFValueType.INT64)
w.add_key_value("f32", 0.5, GGUFValueType.FLOAT32)
w.add_key_value("f64", 0.1, GGUFValueType.FLOAT64)
w.add_key_value("bool", True, GGUFValueType.BOOL)
w.add_key_value("text", "größer", GGUFValueType.STRING)
w.add_array("texts", ["", "a", "▁b"])
w.add_array("ints", [1, -2, 3])
w.add_array("floats", [0.5, -0.25])
w.add_array("bools", [True, False])

for t in Type:
    if t.name not in (*scales, "F16", "BF16"):
        continue
    numbers, size = GGML_QUANT_SIZES[t]
    blocks = random.integers(0, 256, (max(3, 96 // numbers), size), dtype=np.uint8)
    for at in scales.get(t.name, []):
        s = (random.standard_normal(len(blocks)) * 10.0 ** random.integers(-8, 1, len(blocks))).astype("<f2")
        s[1] = 0
        blocks[:, at:at + 2] = s.view(np.uint8).reshape(-1, 2)
    if t.name == "F16":  # no NaN, whose payload says nothing
        blocks[(blocks[:, 1] & 0x7C) == 0x7C, 1] = 0x7B
    blocks = blocks.reshape(1, -1)
    w.add_tensor(f"{t.name}/blocks", blocks, raw_dtype=t)
    w.add_tensor(f"{t.name}/numbers", dequantize(blocks, t))

numbers = (random.standard_normal((3, 64)) * 10.0 ** random.integers(-6, 3, (3, 1))).astype(np.float32)
numbers[1, :32] = 0
# Halves of float16 and bfloat16, the largest float16 and what lies above it.
numbers[2, :8] = [1 + 2**-11, 1 + 3 * 2**-11, 2**-25, 3 * 2**-25, 65519, 65520, 1 + 2**-8, 1 + 3 * 2**-8]
w.add_tensor("numbers", numbers)
for t in (Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0):
    w.add_tensor(f"{t.name}/quantized", quantize(numbers, t), raw_dtype=t)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

"""Writes bitsandbytes.json beside itself: what bitsandbytes computes.

    python make_bitsandbytes.py

needs torch and bitsandbytes 0.50 or later, and no GPU. On a CPU bitsandbytes takes float32 numbers in steps of about 2^-16
of their block's largest before it looks for the nearest code, as its GPU kernels don't. Numbers in float64 go another way
there, to the nearest code of all, which is the one taken here.

maps: create_dynamic_map with and without a sign.
arrays: quantize_blockwise of numbers(), squared without a sign, with a block of zeros.
steps: weights after some steps of AdamW8bit, of all elements that EVERY divides, for each shape and step. Initial
weights and gradients are numbers() too.
"""

import json
import math
import pathlib

import bitsandbytes
import torch
from bitsandbytes import functional
from bitsandbytes.backends.cpu import ops

HERE = pathlib.Path(__file__).parent
BLOCK = 256
SHAPES = [[64, 72], [65, 67], [30, 8]]  # whole blocks, part of one at the end, too small for 8 bits
STEPS, EVERY = 6, 29
SETTINGS = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)


def numbers(size, seed):
    """Of very different sizes and both signs; exact in float64, so that any language gets the same float32."""
    values = []
    for i in range(size):
        x = (i * 7919 + seed * 104729) % 10007
        values.append((x - 5003) / 5003 * 2.0 ** -(x % 13))
    return torch.tensor(values, dtype=torch.float32)


def quantize(x, code):
    codes, absmax = torch.ops.bitsandbytes.quantize_blockwise(x.double(), code, BLOCK)
    # A block of zeros has no share of its largest number: its codes are those of 0.
    codes = codes.flatten()
    codes[absmax.repeat_interleave(BLOCK)[: codes.numel()] == 0] = int(code.abs().argmin())
    return codes.reshape(x.shape), absmax


def in_place(x, code, absmax_out, codes_out, blocksize):
    codes, absmax = quantize(x, code)
    codes_out.copy_(codes)
    absmax_out.copy_(absmax)


ops._quant_blockwise_fp32_direct = in_place  # of AdamW8bit


def maps():
    return dict(signed=functional.create_dynamic_map(True).tolist(), unsigned=functional.create_dynamic_map(False).tolist())


def arrays():
    cases = []
    for signed in (True, False):
        x = numbers(5 * BLOCK, 1)
        x[BLOCK : 2 * BLOCK] = 0
        if not signed:
            x = x.square()
        codes, absmax = quantize(x, functional.create_dynamic_map(signed))
        cases.append(dict(signed=signed, codes=codes.tolist(), absmax=absmax.tolist()))
    return cases


def steps():
    cases = []
    for shape in SHAPES:
        size = math.prod(shape)
        weight = torch.nn.Parameter(numbers(size, 2).reshape(shape))
        optimizer = bitsandbytes.optim.AdamW8bit([weight], **SETTINGS)
        after = []
        for step in range(STEPS):
            weight.grad = numbers(size, 3 + step).reshape(shape)
            optimizer.step()
            after.append(weight.detach().flatten()[::EVERY].tolist())
        state = optimizer.state[weight]
        cases.append(dict(shape=shape, weights=after, eight=state["state1"].dtype == torch.uint8))
    return dict(every=EVERY, cases=cases, **SETTINGS)


result = dict(maps=maps(), arrays=arrays(), steps=steps())
(HERE / "bitsandbytes.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")

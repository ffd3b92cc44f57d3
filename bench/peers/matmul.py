"""Measures torch's matrix product, the most that any program here could reach: python -m peers.matmul cuda|cpu"""

import sys
import time

import torch

from peers.report import report

device = sys.argv[1]
n, dtype = (8192, torch.bfloat16) if device == "cuda" else (2048, torch.float32)
a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
best = 0.0
for _ in range(12):
    start = time.perf_counter()
    a @ b
    if device == "cuda":
        torch.cuda.synchronize()
    best = max(best, 2 * n**3 / (time.perf_counter() - start))
report(flops=best)

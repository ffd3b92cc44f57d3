"""Writes buckets.json beside itself: T5's table rows for the distances key - query from -first to first.

    python make_buckets.py

needs torch and transformers 5.23 or later.
"""

import json
import pathlib

import torch
from transformers.models.t5.modeling_t5 import T5Attention

FIRST = 300
CASES = [(32, 128), (32, 64), (12, 24), (8, 300), (6, 10)]

out = []
for buckets, distance in CASES:
    for bidirectional in (True, False):
        rows = T5Attention._relative_position_bucket(
            torch.arange(-FIRST, FIRST + 1), bidirectional=bidirectional, num_buckets=buckets, max_distance=distance
        )
        out.append(dict(buckets=buckets, max_distance=distance, bidirectional=bidirectional, first=FIRST, rows=rows.tolist()))
text = json.dumps(out, separators=(",", ":")).replace("},", "},\n")
(pathlib.Path(__file__).parent / "buckets.json").write_text(text + "\n")

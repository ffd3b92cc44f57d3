"""Writes beams.json beside itself: texts that transformers finds by searching with a tiny LLaMA.

    python make_beams.py

needs torch and transformers 5.23 or later. Its end tokens are frequent ones, so that texts end at different lengths.
"""

import json
import pathlib

import torch
from transformers import LlamaForCausalLM

here = pathlib.Path(__file__).parent
model = LlamaForCausalLM.from_pretrained(here / "../../../models/testdata/llama-tiny", dtype=torch.float32).eval()
prompts = [[1, 5, 42, 79, 116, 153, 190], [1, 50, 87, 124], [1, 300, 301, 302, 303, 304, 305, 306, 307]]
found = [model.generate(torch.tensor([p]), do_sample=False, max_new_tokens=12, eos_token_id=-1, pad_token_id=0)[0, len(p):].tolist() for p in prompts]
ends = sorted({found[0][3], found[1][5], found[2][7]})
cases = []
for beams in (2, 5):
    for early in (False, True, "never"):
        for penalty in (1.0, 0.0, 3.0, -1.0):
            for eos in (ends, ends[:1]):
                out = []
                for p in prompts:
                    g = model.generate(torch.tensor([p]), do_sample=False, max_new_tokens=12, num_beams=beams, early_stopping=early,
                                       length_penalty=penalty, eos_token_id=eos, pad_token_id=0)[0, len(p):].tolist()
                    out.append(g)
                cases.append(dict(beams=beams, early_stopping=str(early).lower(), length_penalty=penalty, eos=eos, ids=out))
text = json.dumps(dict(prompts=prompts, cases=cases), separators=(",", ":"))
(here / "beams.json").write_text(text.replace("},{", "},\n{") + "\n")
print(len(cases), "cases;", len({json.dumps(c["ids"]) for c in cases}), "different; lengths", sorted({len(i) for c in cases for i in c["ids"]}))

"""Writes beams.json beside itself: texts that transformers finds by searching, short ones with a tiny LLaMA in all ways to end, and
longer ones with all families and what changes the probabilities.

    python make_beams.py

needs torch and transformers 5.23 or later. Its end tokens are frequent ones, so that texts end at different lengths.
"""

import json
import pathlib

import torch
from transformers import AutoModelForSeq2SeqLM, LlamaForCausalLM, OPTForCausalLM

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
long = []
for name, family in (("llama", LlamaForCausalLM), ("opt", OPTForCausalLM), ("t5", AutoModelForSeq2SeqLM)):
    model = family.from_pretrained(here / f"../../../models/testdata/{name}-tiny", dtype=torch.float32).eval()
    skip = lambda p: 1 if model.config.is_encoder_decoder else len(p)
    found = [model.generate(torch.tensor([p]), do_sample=False, max_new_tokens=48, eos_token_id=-1, pad_token_id=0)[0, skip(p):].tolist() for p in prompts]
    ends = sorted({found[0][20], found[1][9]})
    for early, penalty, more in (
        (False, 1.0, {}), (True, 2.0, {}), ("never", 2.0, {}), (False, -1.0, dict(min_new_tokens=10)), (False, 2.0, dict(no_repeat_ngram_size=2)),
        ("never", 1.0, dict(repetition_penalty=1.3)), (True, 0.0, dict(min_new_tokens=36, no_repeat_ngram_size=3, repetition_penalty=1.1)),
    ):
        out = []
        for p in prompts:
            out.append(model.generate(torch.tensor([p]), do_sample=False, max_new_tokens=48, num_beams=2, early_stopping=early,
                                      length_penalty=penalty, eos_token_id=ends, pad_token_id=0, **more)[0, skip(p):].tolist())
        long.append(dict(model=name, early_stopping=str(early).lower(), length_penalty=penalty, eos=ends, ids=out, **more))
text = json.dumps(dict(prompts=prompts, cases=cases, long=long), separators=(",", ":"))
(here / "beams.json").write_text(text.replace("},{", "},\n{") + "\n")
print(len(cases), "cases;", len({json.dumps(c["ids"]) for c in cases}), "different; lengths", sorted({len(i) for c in cases for i in c["ids"]}))
print(len(long), "long ones; lengths", [[len(i) for i in c["ids"]] for c in long])

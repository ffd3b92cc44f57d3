"""Writes with Hugging Face's generate as generate.py's spec says: python -m peers.hf_generate SPEC.json"""

import json
import sys
import time

import torch
import transformers

import prompts
from peers.report import report, summary


class FirstToken(transformers.StoppingCriteria):
    """Notes when each row has its first token, and how many it has by then: guesses come with it. Stops nothing."""

    def __init__(self):
        self.at = self.length = None

    def __call__(self, input_ids, scores, **_):
        if self.at is None:
            wait()
            self.at, self.length = time.perf_counter(), input_ids.shape[1]
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def model_of(spec):
    dtype = torch.bfloat16 if spec["precision"] == "bf16" else torch.float32
    if spec["random"]:
        config = transformers.AutoConfig.from_pretrained(spec["model"])
        torch.manual_seed(0)
        with torch.device(spec["device"]):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(spec["model"], dtype=dtype).to(spec["device"])
    model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)  # without an end
    return model.eval()


def write(model, spec, texts):
    """(seconds to the first token, seconds after it, tokens of a row in them, ids of the first text)"""
    inputs = torch.tensor(texts, device=spec["device"])
    first = FirstToken()
    more = {"cache_implementation": "static"} if spec["compile"] else {}  # on a GPU this compiles
    if spec["lookup"]:
        more["prompt_lookup_num_tokens"] = spec["lookup"]
    wait()
    begun = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=spec["new_tokens"],
            stopping_criteria=transformers.StoppingCriteriaList([first]), **more,
        )
    wait()
    end = time.perf_counter()
    return first.at - begun, end - first.at, out.shape[1] - first.length, out[0, spec["prompt_tokens"]:].tolist()


def main():
    with open(sys.argv[1]) as f:
        spec = json.load(f)
    model = model_of(spec)
    report(versions={"transformers": transformers.__version__, "torch": torch.__version__})
    for number, rows in enumerate(spec["batches"], start=1):
        batches = prompts.batches(spec, rows, model.config.vocab_size)
        for _ in range(2 if spec["compile"] else 1):  # to warm up
            write(model, spec, batches[0])
        report(step=number, **{f"batch {rows}": summary(rows, [write(model, spec, texts) for texts in batches])})


if __name__ == "__main__":
    main()

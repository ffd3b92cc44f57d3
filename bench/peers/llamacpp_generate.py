"""Writes with llama.cpp as generate.py's spec says, a batch's rows as parallel sequences: python -m peers.llamacpp_generate SPEC.json

By way of llama-cpp-python, the functions of llama.h alone. The most likely token of each row is chosen by llama.cpp's own sampler.
"""

import json
import sys
import time

import llama_cpp as ll

import prompts
from peers.report import report, summary

UBATCH = 512  # tokens computed at once, llama.cpp's own default


def model_of(spec):
    ll.llama_backend_init()
    ll.llama_log_set(quiet, None)
    params = ll.llama_model_default_params()
    params.n_gpu_layers = 999 if spec["device"] == "cuda" else 0
    model = ll.llama_model_load_from_file(spec["gguf"].encode(), params)
    if not model:
        raise RuntimeError(f"llama.cpp doesn't load {spec['gguf']}")
    return model


@ll.llama_log_callback
def quiet(*_):
    pass


def context_of(model, spec, rows):
    params = ll.llama_context_default_params()
    room = spec["prompt_tokens"] + spec["new_tokens"]
    params.n_ctx, params.n_seq_max = rows * (-(-room // 256) * 256), rows
    params.n_batch, params.n_ubatch = max(UBATCH, rows), UBATCH
    params.n_threads = params.n_threads_batch = spec["threads"]
    context = ll.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError(f"llama.cpp has no room for {rows} rows")
    return context


class Writer:
    """Rows that grow in one context."""

    def __init__(self, model, spec, rows):
        self.spec, self.rows, self.context, self.prompts = spec, rows, context_of(model, spec, rows), []
        self.batch = ll.llama_batch_init(max(UBATCH, rows), 0, 1)
        self.sampler = ll.llama_sampler_init_greedy()

    def close(self):
        ll.llama_sampler_free(self.sampler)
        ll.llama_batch_free(self.batch)
        ll.llama_free(self.context)

    def add(self, token, position, row, wanted):
        at = self.batch.n_tokens
        self.batch.token[at], self.batch.pos[at], self.batch.logits[at] = token, position, wanted
        self.batch.n_seq_id[at], self.batch.seq_id[at][0] = 1, row
        self.batch.n_tokens += 1
        return at

    def run(self):
        if ll.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama_decode failed")

    def choose(self, at):
        return ll.llama_sampler_sample(self.sampler, self.context, at)

    def read(self):
        """The first token of each row, after as many rows at once as llama.cpp computes at once."""
        length, tokens = self.spec["prompt_tokens"], []
        together = max(1, UBATCH // length)
        for begin in range(0, self.rows, together):
            some = range(begin, min(begin + together, self.rows))
            ends = []
            for part in range(0, length, UBATCH):
                self.batch.n_tokens = 0
                ends = [
                    [self.add(self.prompts[row][at], at, row, at == length - 1) for at in range(part, min(part + UBATCH, length))][-1]
                    for row in some
                ]
                self.run()
            tokens += [self.choose(at) for at in ends]
        return tokens

    def write(self, texts):
        """(seconds to the first token, seconds after it, tokens of a row in them, ids of the first text)"""
        self.prompts = texts
        ll.llama_memory_clear(ll.llama_get_memory(self.context), True)
        begun = time.perf_counter()
        tokens = self.read()
        first = time.perf_counter()
        text = [tokens[0]]
        for at in range(self.spec["new_tokens"] - 1):
            self.batch.n_tokens = 0
            for row, token in enumerate(tokens):
                self.add(token, self.spec["prompt_tokens"] + at, row, True)
            self.run()
            tokens = [self.choose(row) for row in range(self.rows)]
            text.append(tokens[0])
        end = time.perf_counter()
        return first - begun, end - first, len(text) - 1, text


def main():
    with open(sys.argv[1]) as f:
        spec = json.load(f)
    model = model_of(spec)
    report(versions={"llama-cpp-python": ll.__version__})
    if spec["device"] == "cuda" and not ll.llama_supports_gpu_offload():
        raise RuntimeError("Error: llama-cpp-python is built without CUDA")
    for number, rows in enumerate(spec["batches"], start=1):
        writer = Writer(model, spec, rows)
        batches = prompts.batches(spec, rows, ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model)))
        writer.write(batches[0])  # to warm up
        written = [writer.write(texts) for texts in batches]
        writer.close()
        report(step=number, **{f"batch {rows}": summary(rows, written)})


if __name__ == "__main__":
    main()

"""Times torch's train step of a small LLaMA, as a baseline for longform's.

    python llama_step.py [--steps 30] [--warmup 5] [--threads N]

needs torch and transformers. 4 layers, hidden size 256, feed-forward 688, 8 heads, vocabulary
8192, untied (7.4M parameters); batch 8 x 128 of random ids; float32 AdamW with torch's default
implementation and gradients clipped to a global norm of 1. Prints JSON: the median seconds of
a step and tokens a second. Compare only with timings of the same quiet machine.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

BATCH, LENGTH, VOCAB = 8, 128, 8192


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: torch's")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCAB, hidden_size=256, intermediate_size=688, num_hidden_layers=4,
        num_attention_heads=8, max_position_embeddings=LENGTH, tie_word_embeddings=False,
    )).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    seconds = []
    for step in range(arguments.warmup + arguments.steps):
        ids = torch.randint(0, VOCAB, (BATCH, LENGTH))
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        if step >= arguments.warmup:
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    print(json.dumps(dict(
        parameters=sum(p.numel() for p in model.parameters()), threads=torch.get_num_threads(),
        torch=torch.__version__, steps=len(seconds), seconds_per_step=round(median, 5),
        tokens_per_second=round(BATCH * LENGTH / median), loss=round(loss.item(), 4),
    )))


if __name__ == "__main__":
    main()

"""Fine-tunes a checkpoint with torch the way longform does, to compare losses step by step.

    python finetune.py MODEL RECORDS --steps 20
    python finetune.py MODEL RECORDS --steps 20 --lora --init-adapter DIR

needs torch, transformers, and peft for --lora. MODEL is a Hugging Face directory; RECORDS a
JSON array or JSONL of {input, output} or {instruction, input, output}.

Float32; records in file order, wrapping around; the loss is the mean over all target tokens
of the batch; AdamW (0.9, 0.999, 1e-8) with decay 0.01 on tensors of two or more dimensions;
gradients clipped to a global norm of 1; constant learning rate; no dropout. Prints a JSON
line a step.

--lora trains rank 8, alpha 16 on q_proj and v_proj. --init-adapter is the PEFT directory to
start from; where there is none yet, the random start is written to it, so that another
program can start from the same one.
"""

import argparse
import json
import os
import time

import torch
from transformers.utils import logging

import models
import records

LORA_TARGETS = ["q_proj", "v_proj"]


def with_lora(arguments):
    """A base with an adapter whose B is zero and whose A is random, or the one in --init-adapter."""
    start = arguments.init_adapter
    if start and os.path.exists(os.path.join(start, "adapter_config.json")):
        return models.load(arguments.model, adapter=start, trainable=True)
    from peft import LoraConfig, TaskType, get_peft_model

    model, tokenizer, seq2seq = models.load(arguments.model)
    torch.manual_seed(arguments.seed)
    task = TaskType.SEQ_2_SEQ_LM if seq2seq else TaskType.CAUSAL_LM
    targets = ["q", "v"] if seq2seq else LORA_TARGETS
    model = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=targets, task_type=task))
    if start:
        model.save_pretrained(start)
    return model, tokenizer, seq2seq


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def train(model, batches, learning_rate):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            dict(params=[p for p in parameters if p.dim() >= 2], weight_decay=0.01),
            dict(params=[p for p in parameters if p.dim() < 2], weight_decay=0.0),
        ],
        lr=learning_rate, betas=(0.9, 0.999), eps=1e-8,
    )
    model.train()
    for step, batch in enumerate(batches, 1):
        start = time.perf_counter()
        loss = model(**batch).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield step, loss.item(), norm.item(), time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("records")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--lr", type=float, help="default: 1e-5, with --lora 1e-4")
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--init-adapter", metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, help="of a new adapter")
    parser.add_argument("--save", metavar="DIR", help="write the result there")
    parser.add_argument("--threads", type=int, help="default: torch's")
    arguments = parser.parse_args()
    if arguments.init_adapter and not arguments.lora:
        parser.error("--init-adapter needs --lora")
    logging.disable_progress_bar()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    model, tokenizer, seq2seq = with_lora(arguments) if arguments.lora else models.load(arguments.model)
    without_dropout(model)
    pairs = records.read(arguments.records)
    size = arguments.batch_size

    def batches():
        for step in range(arguments.steps):
            chosen = [pairs[(step * size + i) % len(pairs)] for i in range(size)]
            examples = [records.encode(tokenizer, seq2seq, *pair, arguments.max_length) for pair in chosen]
            batch = records.collate(examples, models.pad_id(model.config))
            counts.append(records.targets(batch, seq2seq))
            yield batch

    counts = []
    learning_rate = arguments.lr or (1e-4 if arguments.lora else 1e-5)
    for step, loss, norm, seconds in train(model, batches(), learning_rate):
        line = dict(step=step, loss=loss, grad_norm=norm, targets=counts[-1], seconds=round(seconds, 3))
        print(json.dumps(line), flush=True)
    if arguments.save:
        model.save_pretrained(arguments.save)
        tokenizer.save_pretrained(arguments.save)


if __name__ == "__main__":
    main()

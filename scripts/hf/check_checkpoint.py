"""Opens a checkpoint with transformers and prints its mean loss on records, as JSON.

    python check_checkpoint.py DIR RECORDS [--limit N] [--base MODEL] [--max-length N]

needs torch, transformers, and peft for adapters. DIR is what longform wrote: a checkpoint of
the whole model, or a PEFT adapter, which opens on the base that it names or on --base. Fails
if transformers misses a tensor or finds one too many. The loss is the mean over all target
tokens of all records, in float32, without dropout.
"""

import argparse
import json

import torch
from transformers.utils import logging

import models
import records


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("records")
    parser.add_argument("--base", metavar="MODEL", help="the base of an adapter")
    parser.add_argument("--limit", type=int, help="only the first N records")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--threads", type=int, help="default: torch's")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    if arguments.base:
        model, tokenizer, seq2seq = models.load(arguments.base, adapter=arguments.directory)
    else:
        model, tokenizer, seq2seq = models.load(arguments.directory)
    model.eval()
    per_record, total, count = [], 0.0, 0
    for pair in records.read(arguments.records, arguments.limit):
        example = records.encode(tokenizer, seq2seq, *pair, arguments.max_length)
        batch = records.collate([example], models.pad_id(model.config))
        loss, targets = model(**batch).loss.item(), records.targets(batch, seq2seq)
        per_record.append(loss)
        total, count = total + loss * targets, count + targets
    print(json.dumps(dict(
        directory=arguments.directory, model_type=model.config.model_type, records=len(per_record),
        targets=count, mean_loss=total / count, losses=per_record,
    )))


if __name__ == "__main__":
    main()

"""Trains with Hugging Face transformers as train.py's spec says, and reports each window of steps.

    python -m peers.hf SPEC.json

Through its Trainer, or in the plainest torch loop. Fused AdamW; flash attention 2 where that is installed, or else
PyTorch's scaled dot-product attention where the model has it.
"""

import importlib.util
import json
import os
import sys

import torch
import transformers
from torch.utils.data import SequentialSampler

import records
from peers.report import report


def model_of(spec, device):
    config = transformers.AutoConfig.from_pretrained(spec["directory"])
    config.use_cache = False
    kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    dtype = torch.bfloat16 if spec["precision"] == "bf16" else torch.float32
    attentions = ["sdpa", "eager"]
    if device == "cuda" and importlib.util.find_spec("flash_attn"):
        attentions.insert(0, "flash_attention_2")
    torch.manual_seed(0)
    for attention in attentions:
        try:
            with torch.device(device):
                model = kind.from_config(config, dtype=dtype, attn_implementation=attention)
            break
        except (ValueError, ImportError):  # T5 may have none but eager
            if attention == attentions[-1]:
                raise
    if config.model_type == "t5":  # transformers 5 ties the head whatever config.json says
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    if spec["lora"]:
        import peft

        versions["peft"] = peft.__version__
        targets = ["q", "v"] if config.is_encoder_decoder else ["q_proj", "v_proj"]
        task = peft.TaskType.SEQ_2_SEQ_LM if config.is_encoder_decoder else peft.TaskType.CAUSAL_LM
        adapters = peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=targets, task_type=task)
        model = peft.get_peft_model(model, adapters, autocast_adapter_dtype=False)
    return model.train(), {"versions": versions, "attention": attention}


def rows_of(spec):
    """(input ids, labels) a row: a record, or a block of records one after another."""
    pairs = list(records.read(os.path.join(spec["directory"], "records.jsonl"), spec["encoder_decoder"]))
    if spec["packing"] == "none":
        return pairs
    length, whole = spec["length"], [i for ids, _ in pairs for i in ids]
    return [(whole[at:at + length],) * 2 for at in range(0, len(whole), length)]


def collate(rows):
    """Rows padded to the longest; rows of one length need no mask."""
    def padded(lists, fill):
        longest = max(map(len, lists))
        return torch.tensor([row + [fill] * (longest - len(row)) for row in lists])

    inputs, labels = zip(*rows)
    batch = {"input_ids": padded(inputs, records.PAD), "labels": padded(labels, -100)}
    if len(set(map(len, inputs))) > 1:
        batch["attention_mask"] = padded([[1] * len(row) for row in inputs], 0)
    return batch


class InOrder(transformers.Trainer):
    """A Trainer that doesn't shuffle."""

    def _get_train_sampler(self, *_, **__):
        return SequentialSampler(self.train_dataset)


class Report(transformers.TrainerCallback):
    def __init__(self, window):
        self.window = window

    def on_step_end(self, _, state, __, **___):
        after_step(state.global_step, self.window)


def after_step(step, window):
    if step == 1 or step % window == 0:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        report(step=step)


def with_trainer(spec, model, rows):
    transformers.utils.logging.disable_progress_bar()
    arguments = transformers.TrainingArguments(
        output_dir=os.path.join(spec["directory"], "hf"), per_device_train_batch_size=spec["batch"],
        max_steps=spec["steps"], learning_rate=spec["lr"], lr_scheduler_type="constant", weight_decay=0.01,
        max_grad_norm=spec["clip"], optim="adamw_torch_fused", gradient_checkpointing=spec["checkpointing"],
        gradient_checkpointing_kwargs={"use_reentrant": False}, torch_compile=spec["compile"],
        logging_steps=spec["window"], save_strategy="no", report_to=[], disable_tqdm=True,
        remove_unused_columns=False, use_cpu=spec["device"] == "cpu",
    )
    InOrder(model, arguments, data_collator=collate, train_dataset=rows, callbacks=[Report(spec["window"])]).train()


def in_a_loop(spec, model, rows, device):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=spec["lr"], weight_decay=0.01, fused=True)
    for step in range(1, spec["steps"] + 1):
        at = (step - 1) * spec["batch"] % len(rows)
        batch = {k: v.to(device) for k, v in collate(rows[at:at + spec["batch"]]).items()}
        loss = model(**batch).loss
        loss.backward()
        if spec["clip"]:
            torch.nn.utils.clip_grad_norm_(parameters, spec["clip"])
        optimizer.step()
        optimizer.zero_grad()
        after_step(step, spec["window"])


def main():
    with open(sys.argv[1]) as f:
        spec = json.load(f)
    device = "cuda" if spec["device"] == "cuda" else "cpu"
    model, about = model_of(spec, device)
    rows = rows_of(spec)
    if spec["loop"] == "trainer":
        with_trainer(spec, model, rows)
    else:
        in_a_loop(spec, model, rows, device)
    allocated = torch.cuda.max_memory_allocated() if device == "cuda" else None
    report(**about, allocated_bytes=allocated)


if __name__ == "__main__":
    main()

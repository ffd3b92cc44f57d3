"""Writes FAMILY-lora/ beside itself: a small LoRA adapter as PEFT saves it, and what PEFT does with it.

    python make_lora.py

needs torch, transformers 5.23 or later, peft and safetensors, and reads models/testdata/FAMILY-tiny.

adapter_config.json, adapter_model.safetensors   of rank 2 on the queries and values; B isn't zero, so that it counts
merged.safetensors   the first and the last adapted weight of the model after merge_and_unload
expected.json        mean_nll of each record with the adapter; then losses and gradient norms of five steps of AdamW on the
                     adapter, batches of two records in file order, clipped to norm 1, decay on matrices
"""

import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, T5ForConditionalGeneration

HERE = pathlib.Path(__file__).resolve().parent
BASE = "../../models/testdata/{}-tiny"  # from the directory of a package's tests
SETTINGS = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8)
DECAY = 0.01


def batch(family, records):
    """Pads records on the right."""
    def pad(rows, value):
        longest = max(map(len, rows))
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    ids = [r["input_ids"] for r in records]
    labels = [r["labels"] for r in records]
    return dict(input_ids=pad(ids, 0), attention_mask=pad([[1] * len(i) for i in ids], 0), labels=pad(labels, -100))


def make(family):
    base = HERE / ".." / BASE.format(family)
    records = json.loads((base / "expected.json").read_text())["score"]
    t5 = family == "t5"
    model = (T5ForConditionalGeneration if t5 else AutoModelForCausalLM).from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(
        r=2, lora_alpha=8, target_modules=["q", "v"] if t5 else ["q_proj", "v_proj"],
        task_type="SEQ_2_SEQ_LM" if t5 else "CAUSAL_LM", base_model_name_or_path=BASE.format(family),
    )
    model = get_peft_model(model, config)
    torch.manual_seed(1)
    adapted = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    for name, p in adapted:
        torch.nn.init.normal_(p, std=0.2 if "lora_A" in name else 0.1)
    model.peft_config["default"].base_model_name_or_path = BASE.format(family)
    out = HERE / f"{family}-lora"
    model.save_pretrained(out)
    (out / "README.md").unlink()

    model.eval()
    with torch.no_grad():
        mean_nll = [model(**batch(family, [r])).loss.item() for r in records]
    initial = [p.detach().clone() for _, p in adapted]

    # All trained tensors are matrices.
    optimizer = torch.optim.AdamW([p for _, p in adapted], weight_decay=DECAY, **SETTINGS)
    losses, norms = [], []
    for step in range(5):
        at = 2 * step % len(records)
        loss = model(**batch(family, records[at : at + 2])).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in adapted], 1.0).item())
        optimizer.step()
        losses.append(loss.item())

    with torch.no_grad():
        for (_, p), start in zip(adapted, initial):
            p.copy_(start)
    weights = sorted({n.removeprefix("base_model.model.").split(".lora_")[0] + ".weight" for n, _ in adapted})
    merged = model.merge_and_unload().state_dict()
    save_file({n: merged[n].contiguous() for n in (weights[0], weights[-1])}, out / "merged.safetensors")
    text = json.dumps(dict(mean_nll=mean_nll, losses=losses, grad_norms=norms, lr=SETTINGS["lr"], weight_decay=DECAY), indent=1)
    (out / "expected.json").write_text(text + "\n")


for family in ("llama", "opt", "t5"):
    make(family)

"""Writes tiny members of the three families, each with what transformers computes from it.

    python make_family.py [--out DIR] [NAME ...]

needs torch, transformers 5.23 or later, safetensors. Without names every member is made.
DIR (this script's own by default) receives NAME/{config.json, model.safetensors, expected.json};
there is no tokenizer, only ids.

The weights are random, and so are norms and biases, so that a forgotten norm weight or bias
shows. A member's `without` are the config changes that switch off what the member is about;
the script fails if the loss doesn't notice, or if a checkpoint in an old spelling doesn't
load as the same model.

expected.json, all in float32:
  input_ids, attention_mask   [3][length], padded on the right
  labels       causal: input_ids with -100 at padding, position t predicts labels[t+1];
               T5: [3][target length], the decoder's targets, not shifted
  loss         mean over all targets of the batch
  row_losses   mean over the targets of each row, from the same padded call
  logits_last  the first 8 logits of each row's last real position
  logits_abs_mean_row0   mean absolute logit over the real positions of row 0
  generate     for each row alone, without padding: 12 greedy tokens (fewer after end of sequence)
  dynamic rope only: row_losses_alone (each row a call of its own) and generate_without_cache
  adamw        where present: losses and gradient norms of 3 steps on the same batch
"""

import argparse
import json
import os
import shutil
import zlib

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

VOCAB = 96
CLASSES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "opt": (OPTConfig, OPTForCausalLM),
    "t5": (T5Config, T5ForConditionalGeneration),
}
BASE = {
    "llama": dict(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=128,
        tie_word_embeddings=True, rms_norm_eps=1e-5,
    ),
    "opt": dict(
        vocab_size=VOCAB, hidden_size=32, ffn_dim=40, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=48, word_embed_proj_dim=32, dropout=0.0,
    ),
    "t5": dict(
        vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=24, num_layers=1, num_decoder_layers=2,
        num_heads=4, dropout_rate=0.0, decoder_start_token_id=0,
    ),
}


def rope(kind, theta=10000.0, **parameters):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **parameters))


NO_ROPE_SCALING = rope("default")
LLAMA3 = rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
LONG = [70, 41, 55]

# config: on top of BASE. rows: tokens in each row (T5: encoder rows, then target rows).
MEMBERS = {
    "llama-gqa-headdim-tied": dict(
        config=dict(num_attention_heads=4, num_key_value_heads=2, head_dim=12), adamw=True,
    ),
    "llama-bias": dict(
        config=dict(
            attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        ),
    ),
    "llama-linear": dict(config=rope("linear", factor=2.0), without=NO_ROPE_SCALING),
    "llama-dynamic": dict(
        config=dict(max_position_embeddings=16, **rope("dynamic", factor=2.0)),
        rows=[40, 22, 31], without=NO_ROPE_SCALING,
    ),
    "llama-llama3": dict(config=LLAMA3, rows=LONG, without=NO_ROPE_SCALING),
    "llama-yarn": dict(
        config=rope("yarn", factor=4.0, original_max_position_embeddings=32),
        rows=LONG, without=NO_ROPE_SCALING,
    ),
    "llama-yarn-mscale": dict(
        config=rope(
            "yarn", theta=500.0, factor=8.0, original_max_position_embeddings=48, beta_fast=4.0,
            beta_slow=0.5, mscale=1.5, mscale_all_dim=0.5, truncate=False,
        ),
        rows=LONG, without=rope("yarn", theta=500.0, factor=8.0, original_max_position_embeddings=48),
    ),
    "llama-yarn-attention-factor": dict(
        config=rope("yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=1.3),
        rows=LONG, without=rope("yarn", factor=4.0, original_max_position_embeddings=32),
    ),
    # config.json as transformers 4 and its forerunners wrote it
    "llama-old-plain": dict(
        config=dict(
            tie_word_embeddings=False, num_attention_heads=4, num_key_value_heads=4, head_dim=8,
            rms_norm_eps=1e-6,
        ),
        rewrite=lambda c: old_llama(c, drop=["num_key_value_heads", "head_dim", "rope_theta", "rope_scaling"]),
    ),
    "llama-old-linear": dict(
        config=dict(num_key_value_heads=2, **rope("linear", factor=4.0)),
        without=NO_ROPE_SCALING,
        rewrite=lambda c: old_llama(c, type_key="type", drop=["num_key_value_heads", "head_dim"]),
    ),
    "llama-old-llama3": dict(
        config=LLAMA3 | rope("llama3", theta=500000.0, **{
            k: v for k, v in LLAMA3["rope_parameters"].items() if not k.startswith("rope")}),
        rows=LONG, without=rope("default", theta=500000.0), rewrite=lambda c: old_llama(c),
    ),
    "opt-pre": dict(config={}),
    "opt-post-proj": dict(
        config=dict(do_layer_norm_before=False, word_embed_proj_dim=16), adamw=True,
    ),
    "opt-no-final-norm": dict(
        config=dict(_remove_final_layer_norm=True), without=dict(_remove_final_layer_norm=False),
    ),
    "opt-no-prefix": dict(config={}, rename=lambda name: name.removeprefix("model.")),
    "opt-float16": dict(config={}, dtype=torch.float16),
    "opt-bfloat16": dict(config={}, dtype=torch.bfloat16),
    "t5-relu-tied-old": dict(
        config=dict(feed_forward_proj="relu", num_layers=2, num_decoder_layers=1, d_ff=12),
        rewrite=lambda c: old_t5(c, drop=["feed_forward_proj"]) | dict(n_positions=512),
        extra=lambda w: {
            "encoder.embed_tokens.weight": w["shared.weight"].clone(),
            "decoder.embed_tokens.weight": w["shared.weight"].clone(),
            "lm_head.weight": w["shared.weight"].clone(),
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.randn(32, 4),
        },
        without=dict(scale_decoder_outputs=False),
    ),
    "t5-gated-untied-old": dict(
        config=dict(feed_forward_proj="gated-gelu", num_heads=3, tie_word_embeddings=False),
        untied=True, rewrite=lambda c: old_t5(c) | dict(tie_word_embeddings=False),
        without=dict(scale_decoder_outputs=True), adamw=True,
    ),
    "t5-long-tied-unscaled": dict(
        config=dict(feed_forward_proj="gated-gelu", num_heads=2, tie_word_embeddings=False),
        rows=[150, 31, 64, 137, 20, 52],
        without=dict(relative_attention_max_distance=64),
    ),
    "t5-sharded": dict(
        config=dict(
            feed_forward_proj="gated-gelu", num_heads=2, d_kv=12, tie_word_embeddings=False,
            relative_attention_num_buckets=12, relative_attention_max_distance=24,
        ),
        untied=True, rows=[40, 9, 26, 33, 15, 7], shard="40KB",
    ),
}


def old_llama(config, type_key="rope_type", drop=()):
    """config.json with rope_theta and rope_scaling instead of rope_parameters, and without newer keys."""
    old = dict(config)
    parameters = dict(old.pop("rope_parameters"))
    old["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    old["rope_scaling"] = None if kind == "default" else {type_key: kind} | parameters
    old["torch_dtype"] = old.pop("dtype")
    old["transformers_version"] = "4.44.0"
    for key in ["mlp_bias", "attention_bias", "attention_dropout", "pretraining_tp", "pad_token_id", *drop]:
        old.pop(key, None)
    return old


def old_t5(config, drop=()):
    """config.json of the first T5 checkpoints: no flags for tying, scaling or activation."""
    keep = [
        "architectures", "d_ff", "d_kv", "d_model", "decoder_start_token_id", "dropout_rate", "eos_token_id",
        "feed_forward_proj", "initializer_factor", "is_encoder_decoder", "layer_norm_epsilon", "model_type",
        "num_decoder_layers", "num_heads", "num_layers", "pad_token_id", "relative_attention_num_buckets",
        "vocab_size",
    ]
    return {k: config[k] for k in keep if k in config and k not in drop}


def randomise(model):
    """Norms and biases away from one and zero; embeddings small beside what the layers add.

    With larger embeddings a tied head just repeats the last token, which tests little.
    """
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.normal_(0, 0.2)
            elif p.dim() == 1:
                p.normal_(1, 0.2)
            elif "relative_attention_bias" in name:
                p.normal_(0, 1)
            elif "embed" in name or name == "shared.weight":
                p.normal_(0, 0.3 if getattr(model.config, "scale_decoder_outputs", False) else 0.15)
            elif "q_proj" in name or "k_proj" in name:  # sharp attention, so that positions matter
                p.normal_(0, 2 * p.shape[1] ** -0.5)
            else:
                p.normal_(0, p.shape[1] ** -0.5)


def batch(family, rows):
    """Ragged rows of random ids >= 3 (no special ids), padded on the right."""
    def padded(lists, fill):
        width = max(map(len, lists))
        return torch.tensor([x + [fill] * (width - len(x)) for x in lists])

    ids = [torch.randint(3, VOCAB, (n,)).tolist() for n in rows]
    source, target = (ids[:3], ids[3:]) if family == "t5" else (ids, ids)
    pad = {"llama": 0, "opt": 1, "t5": 0}[family]
    return dict(
        input_ids=padded(source, pad),
        attention_mask=padded([[1] * len(x) for x in source], 0),
        labels=padded(target, -100),
    )


def row_losses(family, logits, labels):
    if family != "t5":
        logits, labels = logits[:, :-1], labels[:, 1:]
    return [float(torch.nn.functional.cross_entropy(l, t, ignore_index=-100)) for l, t in zip(logits, labels)]


def only(inputs, row):
    """One row of a batch, its padding cut off."""
    n = int(inputs["attention_mask"][row].sum())
    m = int((inputs["labels"][row] != -100).sum())
    return dict(
        input_ids=inputs["input_ids"][row : row + 1, :n],
        attention_mask=inputs["attention_mask"][row : row + 1, :n],
        labels=inputs["labels"][row : row + 1, :m],
    )


def greedy(family, load, inputs, use_cache=True):
    """12 new tokens a row. Fails on a near tie, where the next token would be a matter of rounding."""
    out = []
    for row in range(3):
        one = only(inputs, row)
        g = load().generate(
            input_ids=one["input_ids"], attention_mask=one["attention_mask"], do_sample=False,
            max_new_tokens=12, pad_token_id=0, use_cache=use_cache,
            output_scores=True, return_dict_in_generate=True,
        )
        for scores in g.scores:
            best = scores[0].topk(2).values
            assert best[0] - best[1] > 5e-4, f"near tie in row {row}: choose another seed"
        start = 1 if family == "t5" else one["input_ids"].shape[1]
        out.append(g.sequences[0, start:].tolist())
    return out


def adamw(model, inputs, steps=3, lr=1e-3, decay=0.01):
    model.train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [dict(params=matrices, weight_decay=decay), dict(params=vectors, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), eps=1e-8)
    losses, norms = [], []
    for _ in range(steps):
        loss = model(**inputs).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return dict(
        lr=lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=decay, clip_global_norm=1.0,
        decay="tensors with two or more dimensions", losses=losses, grad_norms=norms,
    )


def expected(name, family, member, load, inputs):
    logits = load()(**inputs).logits
    n = [int(x) for x in (inputs["labels"] != -100).sum(1)]
    # transformers sizes T5's cache by the encoder, and fails where the decoder is deeper
    new = greedy(family, load, inputs, use_cache=family != "t5")
    out = dict(
        name=name, torch=torch.__version__, dtype="float32",
        **{k: v.tolist() for k, v in inputs.items()},
        loss=float(load()(**inputs).loss),
        row_losses=row_losses(family, logits, inputs["labels"]),
        logits_last=[[round(x, 6) for x in logits[r, n[r] - 1, :8].tolist()] for r in range(3)],
        logits_abs_mean_row0=float(logits[0, : n[0]].abs().mean()),
        generate=new,
    )
    if name == "llama-dynamic":
        out["row_losses_alone"] = [float(load()(**only(inputs, r)).loss) for r in range(3)]
        out["generate_without_cache"] = greedy(family, load, inputs, use_cache=False)
    if member.get("adamw"):
        with torch.enable_grad():
            out["adamw"] = adamw(load(), inputs)
    return out


def write_json(path, value):
    """A line for each key, so that lists of numbers don't take a line each."""
    lines = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
    with open(path, "w") as f:
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


def save(model, directory, member):
    """Writes the checkpoint, then turns it into the member's spelling by hand."""
    shutil.rmtree(directory, ignore_errors=True)
    model = model.to(member.get("dtype", torch.float32))
    model.save_pretrained(directory, max_shard_size=member.get("shard", "5GB"))
    os.remove(os.path.join(directory, "generation_config.json"))
    path = os.path.join(directory, "model.safetensors")
    if "rename" in member or "extra" in member:
        weights = load_file(path)
        weights |= member.get("extra", lambda w: {})(weights)
        rename = member.get("rename", lambda n: n)
        save_file({rename(k): v for k, v in weights.items()}, path, metadata={"format": "pt"})
    if "rewrite" in member:
        path = os.path.join(directory, "config.json")
        with open(path) as f:
            config = member["rewrite"](json.load(f))
        with open(path, "w") as f:
            json.dump(config, f, indent=2, sort_keys=True)
            f.write("\n")


@torch.no_grad()
def make(out, name, member):
    family = name.split("-")[0]
    config_class, model_class = CLASSES[family]
    torch.manual_seed(zlib.crc32(name.encode()))
    config = config_class(**(BASE[family] | member["config"]))
    model = model_class(config)
    if member.get("untied"):  # transformers ties T5's head whatever the config says, unless both are in the file
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
        model.all_tied_weights_keys.pop("lm_head.weight")
    randomise(model)
    model.eval()
    inputs = batch(family, member.get("rows", [17, 9, 23] + ([12, 21, 6] if family == "t5" else [])))
    before = float(model(**inputs).loss)

    directory = os.path.join(out, name)
    save(model, directory, member)

    def load(**overrides):
        found, info = model_class.from_pretrained(
            directory, dtype=torch.float32, output_loading_info=True, **overrides)
        assert not info["missing_keys"] and not info["mismatched_keys"], (name, info)
        return found.eval()

    values = expected(name, family, member, load, inputs)
    if "dtype" not in member:
        assert values["loss"] == before, f"{name}: {before} in memory but {values['loss']} from its directory"
    if "without" in member:
        other = config_class.from_pretrained(directory)
        for key, value in member["without"].items():
            setattr(other, key, value)
        change = abs(float(model_class.from_pretrained(directory, config=other).eval()(**inputs).loss) / before - 1)
        assert change > 1e-3, f"{name}: the loss changes by only {change:.1e} without {member['without']}"
    write_json(os.path.join(directory, "expected.json"), values)
    for file in os.listdir(directory):
        os.chmod(os.path.join(directory, file), 0o644)
    size = sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory))
    print(f"{name:28} {size / 1024:6.0f} KB  loss {values['loss']:.6f}  generates {values['generate'][0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in arguments.names or MEMBERS:
        make(arguments.out, name, MEMBERS[name])


if __name__ == "__main__":
    main()

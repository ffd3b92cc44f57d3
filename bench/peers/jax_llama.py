"""Trains a LLaMA in plain JAX as train.py's spec says, and reports each window of steps.

    python -m peers.jax_llama SPEC.json

One jitted step that gives its state's memory away; AdamW by hand. Full fine-tuning only, rows without padding.
"""

import functools
import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy

import records
from peers.report import report


def initialize(c, dtype):
    d, ffn = c["hidden_size"], c["intermediate_size"]
    keys = d * c.get("num_key_value_heads", c["num_attention_heads"]) // c["num_attention_heads"]
    rng = numpy.random.default_rng(0)

    def matrix(*shape):
        return jnp.asarray(rng.normal(0, 0.02, shape), dtype)

    def layer():
        return {
            "attention_norm": jnp.ones(d, dtype), "ffn_norm": jnp.ones(d, dtype),
            "q": matrix(d, d), "k": matrix(d, keys), "v": matrix(d, keys), "o": matrix(d, d),
            "gate": matrix(d, ffn), "up": matrix(d, ffn), "down": matrix(ffn, d),
        }

    return {
        "embed": matrix(c["vocab_size"], d), "layers": [layer() for _ in range(c["num_hidden_layers"])],
        "norm": jnp.ones(d, dtype), "head": matrix(d, c["vocab_size"]),
    }


def norm(x, scale, eps=1e-6):
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + eps)).astype(x.dtype) * scale


def rotate(x, cos, sin):  # x [batch, seq, heads, width of a head]
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def attend(p, x, c, cos, sin):
    heads, (batch, length, d) = c["num_attention_heads"], x.shape

    def split(y):
        return y.reshape(batch, length, -1, d // heads)

    q, k, v = rotate(split(x @ p["q"]), cos, sin), rotate(split(x @ p["k"]), cos, sin), split(x @ p["v"])
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(batch, length, d) @ p["o"]


def loss(p, ids, c):
    """Mean over the predicted tokens of ids [batch, seq]."""
    half = c["hidden_size"] // c["num_attention_heads"] // 2
    angles = jnp.arange(ids.shape[1])[:, None] * c.get("rope_theta", 10000.0) ** (-jnp.arange(half) / half)
    cos, sin = (f(angles)[:, None, :].astype(p["norm"].dtype) for f in (jnp.cos, jnp.sin))
    x = p["embed"][ids]
    for layer in p["layers"]:
        x = x + attend(layer, norm(x, layer["attention_norm"]), c, cos, sin)
        y = norm(x, layer["ffn_norm"])
        x = x + (jax.nn.silu(y @ layer["gate"]) * (y @ layer["up"])) @ layer["down"]
    logits = (norm(x, p["norm"]) @ p["head"])[:, :-1].astype(jnp.float32)
    right = jnp.take_along_axis(logits, ids[:, 1:, None], -1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - right)


def train_step(state, ids, c, lr, clip_norm, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    parameters, first, second, step = state
    value, gradients = jax.value_and_grad(loss)(parameters, ids, c)
    if clip_norm:
        size = jnp.sqrt(sum(jnp.sum(jnp.square(g.astype(jnp.float32))) for g in jax.tree.leaves(gradients)))
        clip = jnp.minimum(1, clip_norm / (size + 1e-6))
        gradients = jax.tree.map(lambda g: (g * clip).astype(g.dtype), gradients)
    step = step + 1
    first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, gradients)

    def update(p, m, v):
        change = m / (1 - beta1**step) / (jnp.sqrt(v / (1 - beta2**step)) + eps)
        return (p - lr * (change + (decay * p if p.ndim > 1 else 0))).astype(p.dtype)

    return (jax.tree.map(update, parameters, first, second), first, second, step), value


def main():
    with open(sys.argv[1]) as f:
        spec = json.load(f)
    with open(os.path.join(spec["directory"], "config.json")) as f:
        config = json.load(f)
    rows = numpy.array([ids for ids, _ in records.read(os.path.join(spec["directory"], "records.jsonl"), False)], numpy.int32)
    parameters = initialize(config, jnp.bfloat16 if spec["precision"] == "bf16" else jnp.float32)
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    state = parameters, zeros(parameters), zeros(parameters), jnp.zeros((), jnp.float32)
    run = jax.jit(functools.partial(train_step, c=config, lr=spec["lr"], clip_norm=spec["clip"]), donate_argnums=0)
    for step in range(1, spec["steps"] + 1):
        at = (step - 1) * spec["batch"] % len(rows)
        state, value = run(state, rows[at:at + spec["batch"]])
        if step == 1 or step % spec["window"] == 0:
            value.block_until_ready()
            report(step=step)
    stats = jax.devices()[0].memory_stats() or {}
    report(versions={"jax": jax.__version__}, allocated_bytes=stats.get("peak_bytes_in_use"))


if __name__ == "__main__":
    main()

"""Model FLOPs of a training step, and what a card could do at most.

The count is PaLM's (Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022, appendix B): forward
2 FLOPs a token and weight, and 4·H·Q·T a token and layer for attention over T positions, with causal attention counted
in full; backward twice that. A weight counts where it multiplies something: the input embedding doesn't, the output
head does. What gradient checkpointing computes again doesn't count.

LoRA's frozen weights have no gradient of their own, so they cost 4 FLOPs a token and weight, the adapters 6.
"""

# Dense bfloat16 FLOP/s, without sparsity, from NVIDIA's data sheets; the first name that nvidia-smi's contains.
PEAKS = (
    ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12), ("H200", 989e12), ("GH200", 989e12),
    ("A100", 312e12), ("L40S", 362e12), ("A10G", 70e12), ("RTX 4090", 165e12),
)


def peak(gpu):
    """The card's FLOP/s in bfloat16, None for one that isn't in the table."""
    return next((flops for name, flops in PEAKS if name in gpu), None)


def step(case):
    """Model FLOPs of one optimizer step of full rows."""
    return case.batch * sum(stack(case, *part) for part in parts(case))


def tokens(case):
    """Tokens of a step of full rows; of an encoder-decoder model's, inputs and targets."""
    return case.batch * (case.length + case.target_length)


def stack(case, count, weights, adapters, attention):
    """FLOPs of `count` tokens that pass `weights` and attend over `attention` = sum of layers x width x positions."""
    weight = 4 if case.lora else 6
    return count * (weight * weights + (6 * adapters if case.lora else 0) + 12 * attention)


def parts(case):
    """(tokens of a row, weights that each passes, adapters' weights, attention) of each part of the model."""
    c = case.config
    if case.encoder_decoder:
        d, width, layers = c["d_model"], c["num_heads"] * c["d_kv"], c["num_layers"]
        ffn, rank = 3 * d * c["d_ff"], 2 * RANK * (d + width)  # adapters on q and v
        inputs, targets = case.length, case.target_length
        # Keys and values of cross-attention are made of the encoder's tokens.
        yield inputs, layers * (4 * d * width + ffn + 2 * d * width), layers * (rank + rank // 2), layers * width * inputs
        head = d * c["vocab_size"]
        yield targets, layers * (6 * d * width + ffn) + head, layers * (rank + rank // 2), layers * width * (targets + inputs)
        return
    d, layers = c["hidden_size"], c["num_hidden_layers"]
    keys = d * c.get("num_key_value_heads", c["num_attention_heads"]) // c["num_attention_heads"]
    ffn = 3 * d * c["intermediate_size"] if c["model_type"] == "llama" else 2 * d * c["ffn_dim"]
    weights = layers * (2 * d * d + 2 * d * keys + ffn) + d * c["vocab_size"]
    yield case.length, weights, layers * RANK * (3 * d + keys), layers * d * case.length


RANK = 8  # of the adapters of every LoRA case

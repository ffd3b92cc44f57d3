"""What is measured: models by their Hugging Face config.json, batches, and the programs that run them.

Weights are random and nothing is downloaded, so a case is all there is to know of a measurement.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

# Token ids that every case shares, whatever its family's own are.
PAD, BOS, EOS = 0, 1, 2
SPECIAL = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}


def llama(layers, width, ffn, heads, vocabulary, positions, kv_heads=None, **more):
    return SPECIAL | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary,
        "hidden_size": width, "intermediate_size": ffn, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads or heads,
        "max_position_embeddings": positions, "tie_word_embeddings": False,
    } | more


def opt(layers, width, ffn, heads, vocabulary, positions):
    return SPECIAL | {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "vocab_size": vocabulary,
        "hidden_size": width, "word_embed_proj_dim": width, "ffn_dim": ffn,
        "num_hidden_layers": layers, "num_attention_heads": heads, "max_position_embeddings": positions,
        "do_layer_norm_before": True, "activation_function": "relu", "tie_word_embeddings": True,
        "dropout": 0.0, "attention_dropout": 0.0, "layerdrop": 0.0,
    }


def t5(layers, width, ffn, heads, kv, vocabulary):
    return SPECIAL | {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": vocabulary,
        "d_model": width, "d_ff": ffn, "num_layers": layers, "num_decoder_layers": layers,
        "num_heads": heads, "d_kv": kv, "feed_forward_proj": "gated-gelu", "is_encoder_decoder": True,
        "tie_word_embeddings": False, "decoder_start_token_id": PAD, "dropout_rate": 0.0,
    }


@dataclass(frozen=True)
class Case:
    name: str
    config: dict  # the model's config.json
    batch: int  # rows of an optimizer step, computed at once
    length: int  # tokens of a row; an encoder-decoder model's input
    target_length: int = 0  # tokens of an encoder-decoder model's target
    precision: str = "bf16"  # bf16: weights, gradients and compute in bfloat16; or float32
    lora: bool = False  # rank 8 on the query and value projections, the rest frozen
    checkpointing: bool = False  # every layer computed again in the backward pass
    clip: float = 1.0  # largest global norm of the gradients; 0 doesn't clip
    ragged: bool = False  # records of LongForm's lengths, of which only the tokens themselves count
    sides: tuple = ("ours", "hf", "hf-compile")
    # A step is timed as part of a window of steps, at whose end the device is waited for. Windows
    # before the first measured one are warm-up. A ragged case's window is one pass over its records.
    window: int = 4
    warmup: int = 1  # windows
    windows: int = 3

    @property
    def encoder_decoder(self):
        return self.config["model_type"] == "t5"


LONGFORM = ("ours", "ours-padded", "hf-padded", "hf-packed")

LLAMA_7B = llama(32, 4096, 11008, 32, 32000, 4096)
LLAMA_8B = llama(32, 4096, 14336, 32, 128256, 8192, kv_heads=8, rope_theta=500000.0)

# The most important first. Batches fit 80 GB for transformers too.
GPU = (
    Case("llama-7b", LLAMA_7B, batch=8, length=2048, checkpointing=True),
    Case("llama-8b-lora", LLAMA_8B, batch=2, length=4096, lora=True, windows=4),
    Case("opt-2.7b", opt(32, 2560, 10240, 32, 50272, 2048), batch=8, length=1024, windows=4),
    Case("t5-xl", t5(24, 2048, 5120, 32, 64, 32128), batch=16, length=512, target_length=128, windows=4),
    Case("llama-7b-longform", LLAMA_7B, batch=8, length=1024, checkpointing=True, ragged=True,
         sides=LONGFORM, windows=1),
)

TINY_LLAMA = SPECIAL | json.loads((Path(__file__).parent / "llama-7m/config.json").read_text())

CPU = (
    Case("llama-7m", TINY_LLAMA, batch=8, length=128, precision="float32",
         sides=("ours", "hf", "torch", "jax"), windows=8),
    Case("llama-7m-lora", TINY_LLAMA, batch=8, length=128, precision="float32", lora=True, sides=("ours", "hf")),
    Case("opt-5m", opt(4, 256, 1024, 8, 8192, 128), batch=8, length=128, precision="float32", sides=("ours", "hf")),
    Case("t5-10m", t5(4, 256, 688, 8, 32, 8192), batch=8, length=128, target_length=32, precision="float32",
         sides=("ours", "hf")),
    Case("llama-7m-longform", TINY_LLAMA, batch=8, length=128, precision="float32", ragged=True,
         sides=LONGFORM, windows=1),
)

SMOKE = (
    Case("smoke", llama(2, 64, 128, 4, 512, 64), batch=2, length=32, precision="float32", sides=("ours",),
         window=20, windows=2),
)


def shallow(case, layers):
    """The case with fewer layers of the same widths: its MFU and ratios, in a fraction of the time and memory.

    torch.compile, which takes longest to start, is tried on LLaMA alone.
    """
    keys = ("num_layers", "num_decoder_layers") if case.encoder_decoder else ("num_hidden_layers",)
    sides = case.sides if case.config["model_type"] == "llama" else tuple(s for s in case.sides if s != "hf-compile")
    return replace(case, name=f"{case.name}-{layers}l", config=case.config | dict.fromkeys(keys, layers), sides=sides)


def select(device, quick):
    if device == "cpu":
        return CPU
    if not quick:
        return GPU
    layers = {"llama-7b": 8, "llama-8b-lora": 8, "opt-2.7b": 8, "t5-xl": 6, "llama-7b-longform": 4}
    return tuple(shallow(case, layers[case.name]) for case in GPU)

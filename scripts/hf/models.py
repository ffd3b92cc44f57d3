"""Opens a checkpoint directory with transformers, or an adapter directory with PEFT."""

import json
import os

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer


def load(directory, adapter=None, trainable=False):
    """(model, tokenizer, encoder-decoder?) in float32.

    A PEFT directory opens on the base that its adapter_config.json names, unless the base is
    given as `directory` and the adapter as `adapter`. A tensor missing from a checkpoint, or
    one too many, is an error here; transformers only warns.
    """
    if adapter is None and os.path.exists(os.path.join(directory, "adapter_config.json")):
        with open(os.path.join(directory, "adapter_config.json")) as f:
            directory, adapter = json.load(f)["base_model_name_or_path"], directory
    config = AutoConfig.from_pretrained(directory)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model, info = kind.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    wrong = {k: sorted(map(str, info[k])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
    if wrong:
        raise SystemExit(f"{directory}: {wrong}")
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    return model, AutoTokenizer.from_pretrained(directory), config.is_encoder_decoder


def pad_id(config):
    return 0 if config.pad_token_id is None else config.pad_token_id

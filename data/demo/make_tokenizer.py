"""Train the demo's tokenizer: byte-level BPE of 1024 tokens on the demo's own pairs.

    python3 data/demo/make_tokenizer.py

Needs the Python package tokenizers (0.23 wrote the files here). Reads train.jsonl
beside this file and writes tokenizer.json and tokenizer_config.json there. Training
is deterministic: running it again gives the same bytes.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
VOCAB_SIZE = 1024
MAX_POSITIONS = 256

here = Path(__file__).resolve().parent


def texts():
    for line in (here / "train.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        # The prompt's end marker is text to this tokenizer, so it learns that too.
        yield f"{record['input']} [EOI] {record['output']}"


tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(
    texts(),
    trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
)
bos = (BOS, tokenizer.token_to_id(BOS))
tokenizer.post_processor = processors.TemplateProcessing(
    single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[bos]
)
if tokenizer.get_vocab_size() != VOCAB_SIZE:
    raise SystemExit(f"{tokenizer.get_vocab_size()} tokens instead of {VOCAB_SIZE}: the texts have too few merges")
tokenizer.save(str(here / "tokenizer.json"))

config = {
    "backend": "tokenizers",
    "bos_token": BOS,
    "clean_up_tokenization_spaces": False,
    "eos_token": EOS,
    "model_max_length": MAX_POSITIONS,
    "pad_token": PAD,
    "padding_side": "right",
    "tokenizer_class": "PreTrainedTokenizerFast",
}
(here / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

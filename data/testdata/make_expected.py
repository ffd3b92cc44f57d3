"""Write what transformers makes of texts and records, for the tests of package data.

usage: python data/testdata/make_expected.py     (needs transformers and pyarrow)

Reads {llama,opt,t5}/tokenizer.json beside this script and writes {llama,opt,t5}/expected.json
and the Parquet files. The tokenizers are those of the reference checkpoints.
"""
import json
import os
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIAL = {
    "llama": dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
    "opt": dict(bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>"),
    "t5": dict(eos_token="</s>", unk_token="<unk>", pad_token="<pad>"),
}
TEXTS = ["", " ", "Hello, world!", "  leading and  double  spaces ", "naïve café — “quotes” … €100",
         "日本語のテキスト と English", "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪", "tab\tnew\nline\r\nend\n\n", "ﬁ ligature Å Å e\u0301",
         "مرحبا بالعالم", "a" * 70, "snake_case CamelCase 12345 3.14e-10 1,000,000", "don't we'll I'm they're",
         "<s></s><unk><pad> [EOI] </s> literal", "\u200bzero\u200dwidth\u00a0nbsp", "नमस्ते दुनिया", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢"]
NUL_TEXTS = ["a\0b", "\0", "\0\0\0", " \0 ", "a \0", "\0a", "x\ufdd0\0\ufdd1y</s>\0</s> \0z", "naïve\0é", "no NUL \ufdd0\ufdd2"]
EOI_TEXTS = ["Write a poem. [EOI] Roses are red.", "[EOI]", "a[EOI]b", "[EOI] [EOI]", "[EOI", "\0[EOI]\0"]


def tokenize(t, texts):
    """The ids, the decoded text with and without special tokens, and each token's place in characters."""
    rows = []
    for text in texts:
        e = t(text, return_offsets_mapping=True)
        ids = e["input_ids"]
        rows.append(dict(text=text, ids=ids, offsets=e["offset_mapping"],
                         plain_ids=t(text, add_special_tokens=False)["input_ids"],
                         decoded=t.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
                         decoded_all=t.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)))
    return rows


def examples(name, t, records):
    rows = []
    for r in records:
        if name == "t5":
            rows.append(dict(input_ids=t(r["input"])["input_ids"], labels=t(r["output"])["input_ids"]))
        else:
            ids = t(f"{r['input']} [EOI] {r['output']}")["input_ids"] + [t.eos_token_id]
            rows.append(dict(input_ids=ids, labels=ids))
    return rows


def main():
    records = [json.loads(line) for line in open(os.path.join(HERE, "records.jsonl"), encoding="utf-8")]
    for name, special in SPECIAL.items():
        d = os.path.join(HERE, name)
        t = PreTrainedTokenizerFast(tokenizer_file=os.path.join(d, "tokenizer.json"), **special)
        out = dict(eos=t.eos_token_id, tokenize=tokenize(t, TEXTS), nul=tokenize(t, NUL_TEXTS), examples=examples(name, t, records))
        t.add_special_tokens({"additional_special_tokens": ["[EOI]"]})
        with tempfile.TemporaryDirectory() as saved:  # what counts is what a saved tokenizer gives
            t.save_pretrained(saved)
            t = PreTrainedTokenizerFast.from_pretrained(saved)
        out["eoi"] = dict(id=t.convert_tokens_to_ids("[EOI]"), size=len(t), tokenize=tokenize(t, EOI_TEXTS), examples=examples(name, t, records))
        with open(os.path.join(d, "expected.json"), "w", encoding="utf-8") as f:
            json.dump(out, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")

    table = pa.Table.from_pylist(records)
    pq.write_table(table, os.path.join(HERE, "records.parquet"), compression="snappy", row_group_size=3)
    columns = dict(extra=list(range(len(records))), instruction=[r["input"] for r in records],
                   input=["", None] + ["more"] * (len(records) - 2), output=[r["output"] for r in records])
    pq.write_table(pa.table(columns), os.path.join(HERE, "instructions.parquet"), compression="zstd", use_dictionary=False)
    pq.write_table(pa.table(dict(input=["a", "b"], output=["c", None])), os.path.join(HERE, "null_output.parquet"))
    pq.write_table(pa.table(dict(input=["a"], output=[[1, 2]])), os.path.join(HERE, "list_output.parquet"))


if __name__ == "__main__":
    main()

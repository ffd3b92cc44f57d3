"""How a measured process tells train.py what it did: lines of JSON behind a mark, among whatever libraries print."""

import json

MARK = "BENCH "


def report(**what):
    print(MARK + json.dumps(what), flush=True)


def summary(spec, rows, written):
    """Of batches of rows: (seconds to the first token, seconds after it, ids of the first text) each."""
    first, rest = (sum(w[i] for w in written) / len(written) for i in (0, 1))
    return {"first_token_seconds": first, "tokens_per_second": rows * (spec["new_tokens"] - 1) / rest, "token_ids": written[0][2]}

"""How a measured process tells train.py what it did: lines of JSON behind a mark, among whatever libraries print."""

import json

MARK = "BENCH "


def report(**what):
    print(MARK + json.dumps(what), flush=True)


def summary(rows, written):
    """Of batches of so many rows: (seconds to the first token, seconds after it, tokens of a row in them, ids of the first text) each."""
    first, rest, tokens = (sum(w[i] for w in written) for i in range(3))
    return {"first_token_seconds": first / len(written), "tokens_per_second": rows * tokens / rest, "token_ids": written[0][3]}

"""Bootstrap intervals and paired tests by scipy and sacrebleu.

Reads {"a": [...], "b": [...], "pairs_a": [[candidate, reference], ...], "pairs_b"}
from standard input and writes, for the means of a: the 95% percentile interval; for a
against b: the p-value of the exact paired test; and for the two lists of pairs: the
p-value of sacrebleu's approximate randomization with BLEU and with chrF.
Needs numpy, scipy and sacrebleu.
"""

import json
import sys

import numpy as np
import scipy.stats
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

task = json.load(sys.stdin)
a, b = np.array(task["a"]), np.array(task["b"])
interval = scipy.stats.bootstrap(
    (a,), np.mean, n_resamples=20000, confidence_level=0.95, method="percentile", rng=np.random.default_rng(1)
).confidence_interval
exact = scipy.stats.permutation_test(
    (a[:12], b[:12]), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
)
_, results = PairedTest(
    [(name, [c for c, _ in task[name]]) for name in ("pairs_a", "pairs_b")],
    {"bleu": BLEU(), "chrf": CHRF()},
    [[r for _, r in task["pairs_a"]]],
    test_type="ar",
    n_samples=2000,
)()
json.dump(
    {
        "low": interval.low,
        "high": interval.high,
        "exact": exact.pvalue,
        "bleu": results["BLEU"][1].p_value,
        "chrf": results["chrF2"][1].p_value,
    },
    sys.stdout,
)

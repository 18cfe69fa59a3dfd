"""Writes paired.json: what scipy says of paired differences.

    python make_paired.py > paired.json
"""

import json

import numpy as np
from scipy import stats

CASES = {
    # A shift that is smaller than the spread of each plan and larger than that of the pairs.
    "six windows, a clear shift": (6, 0.0004, 0.00003),
    "sixteen windows, no shift": (16, 0.0, 0.0004),
    "forty windows, a small shift": (40, 0.0001, 0.0002),
    "three hundred windows": (300, -0.00002, 0.0003),
}

rows = []
for number, (name, (windows, shift, noise)) in enumerate(CASES.items()):
    generator = np.random.default_rng(number)
    hard = generator.gamma(4.0, 0.002, windows)
    first = hard + generator.normal(shift, noise, windows)
    second = hard + generator.normal(0.0, noise, windows)
    test = stats.ttest_rel(first, second)
    interval = test.confidence_interval(0.95)
    rows.append({
        "name": name,
        "first": first.tolist(),
        "second": second.tolist(),
        "mean": float(np.mean(first - second)),
        "standard_error": float(stats.sem(first - second)),
        "low": float(interval.low),
        "high": float(interval.high),
    })
print(json.dumps(rows, indent=1))

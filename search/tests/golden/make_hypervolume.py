"""Writes hypervolume.json: small point sets and their hypervolume by moocore.

Every objective is minimised; a point counts only where it is strictly better
than the reference in every objective. Each value is checked here against an
exact sum over the grid that the points span, so that the file does not rest on
one implementation. The seeds are fixed: the same versions write the same file.

    pip install moocore==0.3.2 numpy==2.4.6
    python make_hypervolume.py
"""

import json
import math
from fractions import Fraction
from itertools import product
from pathlib import Path

import moocore
import numpy as np


def grid_hypervolume(points, reference):
    """The dominated volume, summed exactly over the cells of the points' grid."""
    inside = [p for p in points if all(a < r for a, r in zip(p, reference))]
    if not inside:
        return Fraction(0)
    axes = [
        sorted({p[d] for p in inside}) + [reference[d]] for d in range(len(reference))
    ]
    # Cell (i, j, ..) starts at the corner (axes[0][i], axes[1][j], ..) and is
    # dominated exactly when its corner is.
    dominated = np.zeros([len(a) - 1 for a in axes], dtype=bool)
    for p in inside:
        corner = tuple(slice(a.index(v), None) for a, v in zip(axes, p))
        dominated[corner] = True
    total = Fraction(0)
    for cell in product(*(range(len(a) - 1) for a in axes)):
        if dominated[cell]:
            total += math.prod(
                Fraction(a[i + 1]) - Fraction(a[i]) for a, i in zip(axes, cell)
            )
    return total


def random_front(seed, count, dimension):
    """Points near the part of the unit sphere that faces the origin."""
    generator = np.random.default_rng(seed)
    directions = np.abs(generator.normal(size=(count, dimension)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return (1.0 - directions * generator.uniform(0.8, 1.0, size=(count, 1))).tolist()


def random_cloud(seed, count, dimension):
    """Points anywhere in the unit cube: most of them are dominated."""
    return np.random.default_rng(seed).uniform(size=(count, dimension)).tolist()


def random_integers(seed, count, dimension, high, least_sum):
    """Points on a coarse grid, so that ties and duplicates are frequent.

    Points whose sum is below `least_sum` are left out: one of them near the
    origin would dominate all others.
    """
    drawn = np.random.default_rng(seed).integers(0, high, size=(100 * count, dimension))
    return drawn[drawn.sum(axis=1) >= least_sum][:count].astype(float).tolist()


CASES = [
    ("2d_empty", [4, 4], []),
    ("2d_single", [1, 1], [[0, 0]]),
    ("2d_single_on_reference", [1, 1], [[1, 1]]),
    ("2d_staircase", [4, 4], [[1, 3], [2, 2], [3, 1]]),
    ("2d_duplicates", [4, 4], [[1, 3], [2, 2], [1, 3], [2, 2], [3, 1], [3, 1]]),
    ("2d_weakly_dominated", [4, 4], [[1, 2], [1, 3], [2, 2], [3, 1], [3.5, 1]]),
    ("2d_on_reference", [4, 4], [[4, 1], [1, 4], [2, 3]]),
    ("2d_outside_reference", [4, 4], [[5, 0], [0, 5], [1, 1], [-1, 4.5]]),
    ("2d_negative", [0, 0], [[-3, -1], [-2, -2], [-1, -3], [-1, -1]]),
    ("2d_uneven_scales", [2.5e9, 0.5], [[1.2e9, 0.03], [1.9e9, 0.004], [7.5e8, 0.2]]),
    ("2d_ties_40", [9, 9], random_integers(11, 40, 2, 12, 8)),
    ("2d_front_60", [1.1, 1.1], random_front(12, 60, 2)),
    ("3d_empty", [1, 1, 1], []),
    ("3d_single", [2, 3, 4], [[1, 1, 1]]),
    ("3d_basic", [5, 5, 5], [[1, 2, 3], [2, 1, 3], [3, 3, 1], [2, 2, 2]]),
    (
        "3d_duplicates",
        [5, 5, 5],
        [[1, 1, 4], [1, 4, 1], [4, 1, 1], [1, 1, 4], [2, 2, 2], [2, 2, 2]],
    ),
    (
        "3d_weakly_dominated",
        [5, 5, 5],
        [[1, 2, 3], [1, 2, 4], [1, 3, 3], [2, 2, 3], [2, 1, 4], [2, 1, 4.5]],
    ),
    (
        "3d_on_and_outside_reference",
        [4, 4, 4],
        [[4, 1, 1], [1, 4, 1], [1, 1, 4], [5, 0, 0], [0, 0, 6], [2, 2, 2]],
    ),
    ("3d_ties_40", [9, 9, 9], random_integers(13, 40, 3, 12, 12)),
    ("3d_front_60", [1.1, 1.1, 1.1], random_front(14, 60, 3)),
    ("3d_cloud_60", [0.9, 0.9, 0.9], random_cloud(15, 60, 3)),
]


def main():
    cases = []
    for name, reference, points in CASES:
        reference = [float(r) for r in reference]
        points = [[float(v) for v in p] for p in points]
        exact = float(grid_hypervolume(points, reference))
        # moocore refuses a set without points; its hypervolume is zero by definition.
        value = (
            float(moocore.hypervolume(np.array(points), ref=reference))
            if points
            else 0.0
        )
        assert math.isclose(value, exact, rel_tol=1e-13, abs_tol=0.0), (name, value, exact)
        cases.append(
            {
                "name": name,
                "dimension": len(reference),
                "reference": reference,
                "points": points,
                "hypervolume": value,
            }
        )
    document = {
        "made_with": {"moocore": moocore.__version__, "numpy": np.__version__},
        "convention": "minimise; a point counts where it is strictly better than the reference",
        "cases": cases,
    }
    text = json.dumps(document, indent=1)
    Path(__file__).with_name("hypervolume.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

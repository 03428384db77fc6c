"""A table with 2% positives for docs/results.md: digits in two views, 37 of them eights.

    mfh data mfeat --out mfeat.npz
    python -m benchmarks._rare --mfeat mfeat.npz --out rare.csv

All 1,800 digits of UCI's that are no eights are kept, and 37 of the 200 eights, drawn with the seed 0.
"""

import argparse
from collections.abc import Mapping

import numpy as np
import pandas as pd

RARE, POSITIVES = 8, 37
VIEWS = ("fou", "zer")


def rare(digits: Mapping[str, np.ndarray], *, seed: int = 0) -> pd.DataFrame:
    """Return the columns `fou_0` ... `zer_46` of the digits that are kept, and `eight`, yes or no."""
    positive = digits["label"] == RARE
    drawn = np.random.default_rng(seed).choice(np.flatnonzero(positive), POSITIVES, replace=False)
    kept = np.sort(np.concatenate([np.flatnonzero(~positive), drawn]))
    columns = {f"{v}_{k}": digits[v][kept, k] for v in VIEWS for k in range(digits[v].shape[1])}
    return pd.DataFrame({**columns, "eight": np.where(positive[kept], "yes", "no")})


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mfeat", required=True, help="the digits, from `mfh data mfeat`")
    parser.add_argument("--out", required=True, help="the csv to write")
    options = parser.parse_args()
    with np.load(options.mfeat) as digits:
        rare(digits).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()

"""Cora for docs/results.md: 2,708 papers of 7 topics, the words of each and those of its neighbours.

    git clone https://github.com/kimiyoung/planetoid
    python -m benchmarks._cora --planetoid planetoid/data --out cora.npz

The files are those that Yang, Cohen and Salakhutdinov (2016) published with Planetoid (MIT licence). They are
pickles, which can run code when they are read, so they are read only if their checksum is the known one.
"""

import argparse
import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

PARTS = ("allx", "ally", "tx", "ty", "graph", "test.index")
SHA256 = "398db108e650b2c0d8115ac92ca27714e9ceff19c61976023e4e6e6c9f4c7007"


def read(folder: Path) -> dict[str, Any]:
    """Return the files of the folder by their parts.

    Raises:
        ValueError: they are not those that are known.
    """
    contents = {part: (folder / f"ind.cora.{part}").read_bytes() for part in PARTS}
    found = hashlib.sha256(b"".join(contents.values())).hexdigest()
    if found != SHA256:
        raise ValueError(f"The files of Cora in {folder} are others: their SHA-256 is {found}, not {SHA256}.")
    order = np.array(contents.pop("test.index").split(), dtype=int)
    pickled = {part: pickle.loads(content, encoding="latin1") for part, content in contents.items()}
    return pickled | {"order": order}


def cora(files: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return `words`, `neighbours` and `label`.

    A word counts 1 if a paper has it. `neighbours` is the mean of two averages over the papers that cite a
    paper or that it cites: of their words, and of this average of theirs.
    """
    order, graph = files["order"], files["graph"]
    words = np.vstack([files["allx"].toarray(), np.zeros((len(order), files["allx"].shape[1]))])
    topics = np.vstack([files["ally"], np.zeros((len(order), files["ally"].shape[1]))])
    words[order], topics[order] = files["tx"].toarray(), files["ty"]
    pairs = {(a, b) for a, others in graph.items() for b in others}
    rows, columns = np.array(sorted(pairs | {(b, a) for a, b in pairs})).T
    cites = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(words), len(words)))
    average = cites.multiply(1 / cites.sum(axis=1)[:, None]).tocsr()
    one = average @ words
    neighbours = (one + average @ one) / 2
    return {
        "words": words.astype(np.uint8),
        "neighbours": neighbours.astype(np.float16),
        "label": topics.argmax(axis=1),
    }


def main() -> None:
    """Write the npz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--planetoid", type=Path, required=True, help="the folder `data` of Planetoid")
    parser.add_argument("--out", required=True, help="the npz to write")
    options = parser.parse_args()
    np.savez_compressed(options.out, **cora(read(options.planetoid)))


if __name__ == "__main__":
    main()

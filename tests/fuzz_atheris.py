"""Fuzz a reader by coverage, with atheris: python tests/fuzz_atheris.py NAME [-runs=20000].

Readers are those of `fuzz_readers`. What they must hold is said by `Reader.judge`; an input that takes longer
than a minute or fills four gigabytes stops the run too. Needs `pip install atheris`.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mfh", "yaml", "fuzz_readers"]):
    from fuzz_readers import READERS

from fuzz_changes import mutated

LIMITS = ("-timeout=60", "-rss_limit_mb=4096", "-max_len=16384")


def changed(content: bytes, size: int, seed: int) -> bytes:
    """Every second change is the fuzzer's own, the others know what the bytes stand for."""
    return bytes(atheris.Mutate(content, size) if seed % 2 else mutated(content, seed)[:size])


def main() -> None:
    """Fuzz the reader that the first argument names."""
    name, *options = sys.argv[1:]
    reader = READERS[name]
    logging.disable()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="mfh-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    place, corpus = folder / "place", folder / "corpus"
    reader.settle(place)
    corpus.mkdir()
    for number, content in enumerate(reader.valid):
        (corpus / str(number)).write_bytes(content)
    atheris.Setup(
        [name, *LIMITS, *options, str(corpus)],
        lambda content: reader.judge(content, place),
        custom_mutator=changed,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Fuzz readers by coverage, with atheris: python tests/helpers/fuzz_atheris.py NAME,NAME|all [-runs=20000].

Readers are those of `fuzz_readers`, each in a process of its own, one after the other. What they must hold is
said by `Reader.judge`; an input that takes more than five minutes or four gigabytes stops its reader too.
Needs `pip install atheris`.
"""

import logging
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mfh", "yaml", "fuzz_readers"]):
    from fuzz_readers import READERS

from fuzz_changes import mutated

LIMITS = ("-timeout=300", "-rss_limit_mb=4096", "-max_len=16384", "-verbosity=0", "-print_final_stats=1")


def changed(content: bytes, size: int, seed: int) -> bytes:
    """Every second change is the fuzzer's own, the others know what the bytes stand for."""
    return bytes(atheris.Mutate(content, size) if seed % 2 else mutated(content, seed)[:size])


def fuzz(name: str, options: list[str], folder: Path) -> None:
    """Fuzz one reader; ends the process."""
    reader, place, corpus = READERS[name], folder / "place", folder / "corpus"
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


def main() -> int:
    """Fuzz the readers that the first argument names; returns how many failed."""
    names, *options = sys.argv[1:]
    logging.disable()
    warnings.simplefilter("ignore")
    failed, memory = 0, "/dev/shm" if Path("/dev/shm").is_dir() else None
    for name in READERS if names == "all" else names.split(","):
        folder = Path(tempfile.mkdtemp(prefix="mfh-fuzz-", dir=memory))
        child = os.fork()
        if child == 0:
            fuzz(name, options, folder)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shutil.rmtree(folder)
        sys.stderr.write(f"{name}: {'held' if status == 0 else f'failed with status {status}'}\n")
        failed += status != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())

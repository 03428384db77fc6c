"""Fuzz a reader by coverage, with atheris: python tests/fuzz_atheris.py NAME [-runs=20000].

Readers are those of `fuzz_readers`; anything but InputError stops the run. Needs `pip install atheris`.
"""

import contextlib
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mfh", "yaml", "fuzz_readers"]):
    from fuzz_readers import READERS

    from mfh import InputError


def main() -> None:
    """Fuzz the reader that the first argument names."""
    name, *options = sys.argv[1:]
    reader = READERS[name]
    logging.disable()
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    path, corpus = folder / reader.file, folder / "corpus"
    for made in (path.parent, corpus):
        made.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(reader.valid):
        (corpus / str(number)).write_bytes(content)

    def once(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            reader.read(path.parent if reader.folder else path)

    atheris.Setup([name, *options, "-max_len=2048", str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

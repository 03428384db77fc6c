"""Write docs/licences.md from the metadata of the installed packages: python docs/licences.py."""

import re
from importlib import metadata
from pathlib import Path

EXTRAS = ("", "av", "onnx")
HEAD = """# Licences of the dependencies

`mfh` has the MIT licence. The table lists the other packages that `pip install 'mfh[av,onnx]'` installs, with
the licences that their metadata name; `docs/licences.py` writes it. It leaves out the proprietary packages of
NVIDIA that builds of torch for its GPUs need. The wheel of `av` contains FFmpeg, which is under the LGPL or
the GPL, depending on the build.

| package | licence |
|---|---|
"""
TAIL = """
## Versions

`constraints.txt` lists the versions that are installed and tested together, `constraints-oldest.txt` the
oldest versions that are allowed. The 1,808 quick tests were run with the oldest versions (Python 3.11, torch
2.6.0), without those of documentation and examples and without type checks at run time. All pass after the
faults that they found were corrected; four are skipped, one of them because torch 2.6 cannot trace `reshape`
to a tuple. These tests raised three lower bounds: the FFmpeg in PyAV before 18.1 ends the process at some
damaged AAC tracks, jsonargparse before 4.48 words its errors differently, and torchvision before 0.21 needs
older releases of torch.

The versions have not been compared with a list of known vulnerabilities: `pip-audit` got no answer for any of
the 179 and skipped them all. `pip-audit --strict -r constraints.txt --no-deps --disable-pip` asks PyPI, and
fails if it gets no answer. Without `--strict` it prints "No known vulnerabilities found" in that case, too.
"""


def needed(name: str, extras: tuple[str, ...], found: dict[str, metadata.Distribution]) -> None:
    """Add the packages that a package needs, directly or through others, to `found`."""
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    for text in package.requires or ():
        requirement, _, marker = text.partition(";")
        wanted = re.search(r"extra *== *[\"']([^\"']+)", marker)
        other = re.match(r"[\w.-]+", requirement)
        if other is None or (wanted is not None and wanted[1] not in extras):
            continue
        key = re.sub(r"[-_.]+", "-", other[0]).lower()
        if key not in found and not key.startswith(("nvidia", "cuda", "triton")):
            try:
                found[key] = metadata.distribution(other[0])
            except metadata.PackageNotFoundError:
                continue
            needed(other[0], tuple(re.findall(r"\[(\w+)\]", requirement)), found)


def licence(package: metadata.Distribution) -> str:
    """Return the licence that the metadata of a package name, in at most 80 characters."""
    info = package.metadata
    classifiers = [
        c.rpartition(" :: ")[2] for c in info.get_all("Classifier") or () if c.startswith("License")
    ]
    text = info.get("License-Expression") or ", ".join(classifiers) or info.get("License") or "unknown"
    return " ".join(text.split())[:80].replace("|", "/")


def main() -> None:
    """Write the page."""
    found: dict[str, metadata.Distribution] = {}
    needed("mfh", EXTRAS, found)
    rows = [f"| {name} | {licence(package)} |" for name, package in sorted(found.items())]
    Path(__file__).with_suffix(".md").write_text(HEAD + "\n".join(rows) + "\n" + TAIL, encoding="utf-8")


if __name__ == "__main__":
    main()

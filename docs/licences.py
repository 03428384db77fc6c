"""Write the table of docs/licences.md: python docs/licences.py. From the metadata of what is installed."""

import re
from importlib import metadata
from pathlib import Path

EXTRAS = ("", "av")
HEAD = """# Licences of the dependencies

`mfh` is under the MIT licence. What `pip install 'mfh[av]'` installs besides, as the metadata of the packages
say; made by `docs/licences.py`. Packages of NVIDIA, which come with builds of torch for its cards, are left
out; they are proprietary. The wheel of `av` contains FFmpeg (LGPL or GPL, as it was built).

| package | licence |
|---|---|
"""
TAIL = """
## Versions

`constraints.txt` holds the versions that are installed and tested together, `constraints-oldest.txt` the
oldest that may be installed. With the oldest, Python 3.11 and torch 2.6.0, the 1,808 quick tests but those of
documentation and examples were run, without the checks of types at run time: all pass since what they found
was mended, four are skipped (one as torch 2.6 traces no `reshape` to a tuple). They raised three lower
bounds: PyAV before 18.1 contains an FFmpeg that ends the process at some damaged AAC tracks, jsonargparse
before 4.48 tells errors in other words, torchvision before 0.21 goes with older releases of torch.

The versions have not been held against a list of known vulnerabilities: `pip-audit` had no answer about any
of the 179 and skipped them all. `pip-audit --strict -r constraints.txt --no-deps --disable-pip` asks PyPI,
and fails where it learns nothing; without `--strict` it then says "No known vulnerabilities found" as well.
"""


def needed(name: str, extras: tuple[str, ...], found: dict[str, metadata.Distribution]) -> None:
    """Collect what a package needs, at any depth."""
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
    """In the words of the package, short."""
    told = package.metadata
    classifiers = [
        c.rpartition(" :: ")[2] for c in told.get_all("Classifier") or () if c.startswith("License")
    ]
    text = told.get("License-Expression") or ", ".join(classifiers) or told.get("License") or "not told"
    return " ".join(text.split())[:80].replace("|", "/")


def main() -> None:
    """Write the page."""
    found: dict[str, metadata.Distribution] = {}
    needed("mfh", EXTRAS, found)
    rows = [f"| {name} | {licence(package)} |" for name, package in sorted(found.items())]
    Path(__file__).with_suffix(".md").write_text(HEAD + "\n".join(rows) + "\n" + TAIL, encoding="utf-8")


if __name__ == "__main__":
    main()

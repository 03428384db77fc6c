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
    Path(__file__).with_suffix(".md").write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

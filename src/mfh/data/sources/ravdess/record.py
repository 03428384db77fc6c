"""The RAVDESS archives of a source, with the checksums in its manifest.

The checksums come from the metadata of Zenodo's record 1188976, or from a mirror; none are in this code.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from mfh._checks import InputError, listing, parse_json, require
from mfh.data import media
from mfh.data.download import TIMEOUT

RECORD = "1188976"
RECORD_URL = f"https://zenodo.org/api/records/{RECORD}"
_FILE_URL = f"https://zenodo.org/records/{RECORD}/files/{{name}}?download=1"
MANIFESTS = ("record.json", "md5sums.txt")
_ARCHIVE = re.compile(r"(?:Video|Audio)_(Speech|Song)_Actors?_\d\d(?:-\d\d)?\.zip", re.ASCII)


@dataclass(frozen=True)
class Archive:
    """One zip of the record.

    Attributes:
        name: such as `Video_Speech_Actor_01.zip`.
        address: URL, or path of a file.
        size: in bytes; None if the source does not give it.
        md5: hexadecimal; None if the source does not give it.
    """

    name: str
    address: str
    size: int | None = None
    md5: str | None = None

    @property
    def kind(self) -> str:
        """`Speech` or `Song`; '' for files of other names."""
        match = _ARCHIVE.fullmatch(self.name)
        return match[1] if match else ""

    @property
    def is_local(self) -> bool:
        """Whether the address is a path."""
        return "://" not in self.address


def find_archives(source: Path | str | None, *, allow_unverified: bool = False) -> list[Archive]:
    """Return the RAVDESS archives in the manifest of a source, with their sizes and checksums.

    Args:
        source: None for Zenodo; or a folder or URL with `record.json` or `md5sums.txt`.
        allow_unverified: whether a folder may have no manifest.

    Raises:
        InputError: the source cannot be reached, or its manifest is absent or cannot be read.
    """
    if source is None:
        text = _text(RECORD_URL)
        if text is None:
            raise InputError(f"`{RECORD_URL}` does not exist any more. Name a mirror with `source`.")
        return _of_record(text, RECORD_URL, _FILE_URL)
    way_out = f"Save {RECORD_URL} there as record.json, or the output of `md5sum *.zip` as md5sums.txt"
    if re.match(r"https?://", str(source)):
        base = str(source).rstrip("/")
        for manifest in MANIFESTS:
            text = _text(f"{base}/{manifest}")
            if text is not None:
                return _of_manifest(manifest, text, f"{base}/{{name}}")
        raise InputError(
            f"`source` must have a manifest. `{base}` has neither {listing(MANIFESTS)}. {way_out}."
        )
    folder = Path(source)
    require(folder.is_dir(), f"`source` must be a folder or a URL. `{folder}` is no folder.")
    for manifest in MANIFESTS:
        if (folder / manifest).is_file():
            try:
                text = (folder / manifest).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"`{folder / manifest}` cannot be read: {error}.") from error
            return _of_manifest(manifest, text, str(folder / "{name}"))
    require(
        allow_unverified,
        f"`source` must have a manifest to verify its archives. `{folder}` has neither "
        f"{listing(MANIFESTS)}. {way_out}; or allow unverified archives.",
    )
    return [Archive(path.name, str(path), path.stat().st_size) for path in sorted(folder.glob("*.zip"))]


def _of_manifest(manifest: str, text: str, address: str) -> list[Archive]:
    place = address.format(name=manifest)
    if manifest.endswith(".json"):
        return _of_record(text, place, address)
    archives = []
    for line in filter(None, text.splitlines()):
        match = re.fullmatch(r"([0-9a-fA-F]{32}) [ *](?:\./)?(\S+)", line.strip())
        if match is None:
            raise InputError(f"`{place}` must hold lines as `md5sum` writes them. Got {line!r}.")
        archives.append(Archive(match[2], address.format(name=match[2]), None, match[1].lower()))
    return [archive for archive in archives if archive.kind]


def _of_record(text: str, place: str, address: str) -> list[Archive]:
    """Return the archives in a record's metadata, in Zenodo's present form or in its older one."""
    archives = []
    try:
        for entry in parse_json(text)["files"]:
            name = str(entry.get("key") or entry["filename"])
            md5 = entry["checksum"].removeprefix("md5:")
            if not re.fullmatch(r"[0-9a-f]{32}", md5):
                raise ValueError(f"{name} has the checksum {entry['checksum']!r}, which is no MD5")
            size = entry.get("size", entry.get("filesize"))
            archives.append(Archive(name, address.format(name=name), int(size), md5))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"`{place}` is not the metadata of a Zenodo record: {error!r}.") from error
    return sorted((archive for archive in archives if archive.kind), key=lambda archive: archive.name)


def _text(url: str) -> str | None:
    """Return the text at a URL; None if there is none."""
    requests = media.need("requests")
    try:
        response = requests.get(url, timeout=TIMEOUT)
        if response.status_code == 404:
            return None
        response.raise_for_status()
    except requests.RequestException as error:
        raise InputError(
            f"`{url}` cannot be downloaded: {error}. A mirror can be named with `source`."
        ) from error
    return response.text

"""Download of the RAVDESS archives (Zenodo record 1188976, CC BY-NC-SA 4.0), or copy from a mirror.

An archive gets its name only after its checksum was verified, so that nothing opens it before.
"""

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mfh._checks import listing, require
from mfh._system.files import writable_folder, write_text
from mfh._system.lock import holds
from mfh.data.download import fetch, size_of
from mfh.data.sources.ravdess.record import Archive, find_archives

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadReport:
    """Result of `download`.

    Attributes:
        out: the folder.
        archives: names of all archives in it.
        num_bytes: their total size.
        unverified: names of archives whose checksum is unknown.
    """

    out: Path
    archives: tuple[str, ...]
    num_bytes: int
    unverified: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{len(self.archives)} archives, {self.num_bytes / 1e9:.2f} GB in {self.out}"
        if not self.unverified:
            return f"{text}, all checksums verified"
        return f"{text}; NOT verified, because their checksum is unknown: {', '.join(self.unverified)}"


@holds()
def download(
    out: Path | str,
    *,
    source: Path | str | None = None,
    speech: bool = True,
    song: bool = False,
    allow_unverified: bool = False,
    progress: bool = True,
) -> DownloadReport:
    """Download and verify the archives, after logging how much disk space they need.

    Archives that exist are verified and kept; the download of a `.part` file continues. The folder is what
    `mfh.data.sources.ravdess.prepare.prepare` takes as `raw`.

    Args:
        out: folder for the zips, and for `md5sums.txt` with the checksums that were verified.
        source: by default Zenodo. A mirror is a folder or URL with the zips and a manifest: `record.json`,
            the metadata of the record as Zenodo gives them, or `md5sums.txt`, as `md5sum` writes it.
        speech: whether to take the archives of speech.
        song: whether to take the archives of song.
        allow_unverified: whether to take zips from a folder without a manifest; the report names them.
        progress: whether to show bars on stderr.

    Raises:
        InputError: the source cannot be reached or has no checksums, a checksum differs, or there is too
            little disk space.
    """
    kinds = {name for name, chosen in (("Speech", speech), ("Song", song)) if chosen}
    require(
        len(kinds) > 0, "`speech` or `song` must be True. Got False for both: there is nothing to download."
    )
    archives = [a for a in find_archives(source, allow_unverified=allow_unverified) if a.kind in kinds]
    require(
        len(archives) > 0,
        f"`source` must have RAVDESS archives of {listing(sorted(kinds))}. Its manifest lists none.",
    )
    out = writable_folder(out)
    _require_room(out, archives)
    for number, archive in enumerate(archives, start=1):
        logger.info("%d of %d: %s", number, len(archives), archive.name)
        known = f"md5:{archive.md5}" if archive.md5 else None
        fetch(archive.address, out / archive.name, known_hash=known, size=archive.size, progress=progress)
    verified = [archive for archive in archives if archive.md5]
    write_text(out / "md5sums.txt", "".join(f"{archive.md5}  {archive.name}\n" for archive in verified))
    report = DownloadReport(
        out=out,
        archives=tuple(archive.name for archive in archives),
        num_bytes=sum((out / archive.name).stat().st_size for archive in archives),
        unverified=tuple(archive.name for archive in archives if not archive.md5),
    )
    if report.unverified:
        logger.warning("%s", report)
    return report


def _require_room(out: Path, archives: Iterable[Archive]) -> None:
    known, missing, unknown = 0, 0, 0
    for archive in archives:
        size = archive.size
        if size is None and archive.is_local:
            size = Path(archive.address).stat().st_size if Path(archive.address).is_file() else None
        if size is None:
            unknown += 1
            continue
        there = max(size_of(out / archive.name), size_of(out / f"{archive.name}.part"))
        known += size
        missing += max(size - there, 0)
    free = shutil.disk_usage(out).free
    extra = f", and {unknown} archives of unknown size" if unknown else ""
    text = f"{known / 1e9:.2f} GB, {missing / 1e9:.2f} of them still to be downloaded{extra}"
    logger.info("The archives need %s; %.2f GB are free in `%s`", text, free / 1e9, out)
    require(missing <= free, f"`out` must have room for {text}. `{out}` has {free / 1e9:.2f} GB free.")

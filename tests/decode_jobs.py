"""What decoding processes of tests do; a module without imports that take long."""

import os
import resource
import signal
import time
from functools import partial
from pathlib import Path

from mfh import InputError
from mfh.data.media import decode_audio
from mfh.data.media_video import decode_frames


def deadly(folder: Path, name: str) -> str:
    """Write a file; but a name that begins with `kill` ends the process, `hang` and `fill` hold it up."""
    if name.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("fill"):
        raise MemoryError
    (folder / name).write_text("done")
    return ""


def decode_any(folder: Path, name: str) -> str:
    """Decode the sound and four frames of a clip as `prepare` does; notes the peak of memory in KiB."""
    reasons = []
    for decode in (decode_audio, partial(decode_frames, frames=4, height=8, width=8)):
        try:
            decode(folder / name)
        except InputError as error:
            reasons.append(str(error))
    (folder / "memory").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    return "; ".join(reasons)

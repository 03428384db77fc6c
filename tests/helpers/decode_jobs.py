"""What decoding processes of tests do; a module without imports that take long."""

import os
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


def peak_memory() -> int:
    """Most memory that this process has had, in KiB; 0 where the system does not say.

    What `getrusage` gives counts the process from which this one was started, too.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def decode_any(folder: Path, name: str, *, pictures: bool) -> str:
    """Decode the sound and, with `pictures`, four frames of a clip; notes the process's peak of memory."""
    reasons = []
    for decode in (decode_audio, partial(decode_frames, frames=4, height=8, width=8))[: 1 + pictures]:
        try:
            decode(folder / name)
        except InputError as error:
            reasons.append(str(error))
    (folder / f"memory-{os.getpid()}").write_text(str(peak_memory()))
    return "; ".join(reasons)

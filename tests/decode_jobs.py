"""What decoding processes of tests do; a module without imports that take long."""

import os
import signal
from pathlib import Path


def deadly(folder: Path, name: str) -> str:
    """Write a file; but a name that begins with `kill` ends the process."""
    if name.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / name).write_text("done")
    return ""

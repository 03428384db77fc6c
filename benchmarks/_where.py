"""Where a command spends its time: `python -m benchmarks._where ARGUMENTS OF MFH`.

A thread looks at the main thread's stack every few milliseconds. What runs in torch's modules, gradients and
optimisers is the network's; what runs in the readers, or waits for them, is decoding; what scales, resizes
and transforms what was read is inputs; imports are start-up. The rest is everything else, listed by function
of the package. The last line printed is JSON.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from types import FrameType

EVERY = 0.005
NETWORK = ("/torch/nn/", "/torch/autograd/", "/torch/optim/", "/torch/_tensor.py")
DECODE = ("media", "decode", "_clips", "_read", "_stream", "_pack", "_arrays", "array_cache", "tar_")
READERS = ("prepare", "preparation")
INPUTS = ("imagenet", "_inputs", "ravdess.py", "standardize")


def kind(frames: list[FrameType]) -> str:
    """What a stack, innermost frame first, is busy with."""
    files = [frame.f_code.co_filename for frame in frames]
    if any("importlib" in name for name in files):
        return "start-up"
    if any(part in name for name in files for part in NETWORK):
        return "network"
    ours = [name.partition("/mfh/data/")[2] for name in files]
    if any(part in name for name in ours for part in DECODE + READERS):
        return "decode"
    if any(part in name for name in ours for part in INPUTS):
        return "inputs"
    waits = any(frame.f_code.co_name == "feed" for frame in frames)
    if waits and any("/concurrent/futures/" in name for name in files):
        return "decode"
    return "else"


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of a stack, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def main() -> int:
    """Run a command and print where its time went."""
    kinds: Counter[str] = Counter()
    rest: Counter[str] = Counter()
    over = threading.Event()
    watched = threading.main_thread().ident

    def look() -> None:
        while not over.wait(EVERY):
            frames = list(stack(sys._current_frames().get(watched)))
            what = kind(frames)
            kinds[what] += 1
            if what == "else":
                ours = (f for f in frames if "/mfh/" in f.f_code.co_filename)
                rest[next((f"{f.f_globals['__name__']}.{f.f_code.co_name}" for f in ours), "python")] += 1

    watcher = threading.Thread(target=look, daemon=True)
    begin = time.perf_counter()
    watcher.start()
    from mfh.cli import main as command

    try:
        status = command(sys.argv[1:])
    except SystemExit as end:
        status = end.code
    over.set()
    watcher.join()
    share = {name: count / kinds.total() for name, count in kinds.items()}
    found = {"seconds": time.perf_counter() - begin, "share": share, "else": dict(rest.most_common(12))}
    print(json.dumps(found))
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())

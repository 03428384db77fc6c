"""Every file is written by `mfh._system.atomic`: whoever writes directly is found here."""

import ast
import re
from pathlib import Path

import mfh

ROOT = Path(mfh.__file__).parent
ALWAYS = {"write_text", "write_bytes", "to_csv", "to_parquet", "to_pickle", "tofile", "symlink_to", "mkstemp"}
ALWAYS |= {"NamedTemporaryFile", "extractall", "extract", "save_file", "savez", "rename", "open_memmap"}
NAMED = {"save_file", "open_memmap", "copyfile", "copytree"}  # imported under these names
OF_MODULES = {"save", "savetxt", "savez_compressed", "dump", "copyfile", "copy", "copy2", "copytree", "move"}
OF_MODULES |= {"link", "memmap"}
MODULES = {"np", "numpy", "torch", "shutil", "os", "json", "safetensors", "pickle", "tarfile", "zipfile"}
ALLOWED = {
    # module: what it writes without `_system.atomic`, and why
    "_system/atomic.py": {"open", "replace"},  # the one place
    "_system/workers/cores.py": {"open"},  # empty files whose kernel locks say which cores are taken
    "_system/lock.py": {"open", "link"},  # the lock itself, which is linked into place whole
    "data/download.py": {"open", "copyfile", "replace"},  # a part that can go on; named once it is verified
    "data/sources/ravdess/generated.py": {"open"},  # FFmpeg writes into a temporary folder
    "training/checkpoint.py": {"replace"},  # the former state, whole, gets its other name
    "experiments/_steps/partial_study.py": {"replace"},  # the folder of a tracker's curves
}
BUFFERS = {"content", "blob", "buffer", "image", "shape"}  # in memory


def module_of(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def for_writing(call: ast.Call, *, first: int) -> bool:
    """Whether an `open` of a file is given a mode that writes, as its argument number `first` or later."""
    given = [*call.args[first:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    texts = [part.value for value in given for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return any(re.fullmatch(r"(?=.*[wax+])[rwaxbt+]{1,3}(:\w*)?", str(text)) for text in texts)


def in_memory(call: ast.Call) -> bool:
    """Whether what is written goes to a buffer."""
    into = [part.id for arg in call.args[:2] for part in ast.walk(arg) if isinstance(part, ast.Name)]
    return bool(set(into) & BUFFERS) or any(k.arg in ("format", "fileobj") for k in call.keywords)


def writes(call: ast.Call) -> str:
    """The name of the function, if the call writes a file by itself."""
    name, module = "", ""
    if isinstance(call.func, ast.Name):
        name = call.func.id
    elif isinstance(call.func, ast.Attribute):
        name, module = call.func.attr, module_of(call.func.value)
    if in_memory(call):
        return ""
    renames = name == "replace" and not call.keywords and len(call.args) == 1  # a path's; a text's takes two
    saves = name in OF_MODULES and module in MODULES and len(call.args) > 1
    first = 1 if isinstance(call.func, ast.Name) else 0
    opens = name == "open" and for_writing(call, first=first)
    draws = name == "savefig"
    always = name in (NAMED if isinstance(call.func, ast.Name) else ALWAYS)
    return name if always or renames or saves or opens or draws else ""


def direct_writes(source: str) -> set[str]:
    """What a module calls that writes a file by itself."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {name for call in calls if (name := writes(call))}


def test_no_module_writes_a_file_by_itself() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): calls
        for path in sorted(ROOT.rglob("*.py"))
        if (calls := direct_writes(path.read_text(encoding="utf-8")))
    }
    assert found == ALLOWED


def test_writers_are_found() -> None:
    for code in (
        "open('a', 'w')", "path.open('wb')", "path.open(mode='a')", "path.write_text('a')",
        "np.save(path, a)", "np.savez(path, a=1)", "torch.save(state, path)", "frame.to_csv(path)",
        "figure.savefig(path)",
        "safetensors.torch.save_file(state, path)", "save_file(state, path)", "json.dump(value, file)",
        "shutil.copyfile(a, b)", "a.rename(b)", "a.replace(b)", "os.link(a, b)", "archive.extractall(path)",
        "tarfile.open(path, 'w')", "gzip.open(path, 'wt')",
    ):  # fmt: skip
        assert direct_writes(code), code
    for code in (
        "open('a')", "path.open('rb')", "np.save(content, a)", "text.replace('a', 'b')",
        "tarfile.open(fileobj=file, mode='w:')", "Rows.open('features', a)", "wave.open(content, 'wb')",
    ):  # fmt: skip
        assert not direct_writes(code), code

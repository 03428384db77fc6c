"""The public names, grouped, each with the page that its docstring makes."""

import dataclasses
import inspect

import mfh
import mfh.results

GROUPS = {
    "The whole experiment": ("study", "StudyResult", "PairedDataset", "load_results", "report"),
    "Saliency": ("saliency", "streaming_saliency", "SaliencyAccumulator", "SaliencyResult"),
    "Distilling one student": ("distill", "DistillResult"),
    "Layers and focused teachers": ("layers", "LayerInfo", "split", "select", "FocusedTeacher"),
}
ELSEWHERE = ("__version__",)


def write() -> str:
    """Markdown of everything in `mfh.__all__`; a name in no group comes under its own heading."""
    grouped = {name for names in GROUPS.values() for name in names}
    others = [n for n in mfh.__all__ if n not in grouped and n not in ELSEWHERE and not _is_config(n)]
    groups = {**GROUPS, "Further names": tuple(others)}
    return "\n".join(
        f"## {title}\n\n{_directives('mfh', [n for n in names if n in mfh.__all__])}"
        for title, names in groups.items()
        if names
    )


def write_results() -> str:
    """Markdown of the result classes of `mfh.results`."""
    own = [
        name
        for name, cls in inspect.getmembers(mfh.results, dataclasses.is_dataclass)
        if cls.__module__ == "mfh.results" and name not in mfh.__all__
    ]
    own.sort(key=lambda name: inspect.getsourcelines(getattr(mfh.results, name))[1])
    return _directives("mfh.results", own)


def _is_config(name: str) -> bool:
    return name.endswith("Config")


def _directives(module: str, names: list[str]) -> str:
    return "\n".join(_directive(module, name) for name in names)


def _directive(module: str, name: str) -> str:
    value = getattr(__import__(module, fromlist=[name]), name)
    kind = "function" if inspect.isfunction(value) else "class"
    if inspect.isclass(value) and issubclass(value, BaseException):
        kind = "exception"
    members = "" if kind != "class" else "\n   :members:\n   :inherited-members: Module, RunResult"
    return f"```{{eval-rst}}\n.. auto{kind}:: {module}.{name}{members}\n```\n"

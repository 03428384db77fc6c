"""Write the reference of the public names: groups of them, each name with its docstring."""

import dataclasses
import inspect

import mfh
import mfh.results

GROUPS = {
    "Studies": ("study", "StudyResult", "PairedDataset", "load_results", "report", "diagnose"),
    "Arms and metrics": ("Arm", "register_arm", "Metric", "register_metric"),
    "Saliency": ("saliency", "streaming_saliency", "SaliencyAccumulator", "SaliencyResult"),
    "One student": ("distill", "DistillResult"),
    "Layers and focused teachers": ("layers", "LayerInfo", "split", "select", "FocusedTeacher"),
    "Exported networks": ("load_export", "Exported"),
}
NOT_SHOWN = ("__version__",)
# where the classes that `mfh.results` offers are defined
RESULT_MODULES = ("mfh.results", "mfh._rows", "mfh._run_result")


def write() -> str:
    """Return Markdown of all names in `mfh.__all__` but configs; names of no group are `Further names`."""
    grouped = {name for names in GROUPS.values() for name in names}
    others = [n for n in mfh.__all__ if n not in grouped and n not in NOT_SHOWN and not _is_config(n)]
    groups = {**GROUPS, "Further names": tuple(others)}
    return "\n".join(
        f"## {title}\n\n{_directives('mfh', [n for n in names if n in mfh.__all__])}"
        for title, names in groups.items()
        if names
    )


def write_results() -> str:
    """Return Markdown of the classes of results, in the order in which they are defined."""
    found = {
        name: (RESULT_MODULES.index(cls.__module__), inspect.getsourcelines(cls)[1])
        for name, cls in inspect.getmembers(mfh.results, inspect.isclass)
        if dataclasses.is_dataclass(cls) and cls.__module__ in RESULT_MODULES and name not in mfh.__all__
    }
    return _directives("mfh.results", sorted(found, key=found.__getitem__))


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

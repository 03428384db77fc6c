"""The model card of an export, in the format of Hugging Face: README.md with YAML metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mfh._checks import one_line
from mfh._export.card_results import describe_results
from mfh._system.environment import command_line
from mfh.recipe import Recipe

PIPELINES = {
    ("single-label", 1): "tabular-classification",
    ("multi-label", 1): "tabular-classification",
    ("regression", 1): "tabular-regression",
    ("single-label", 3): "image-classification",
    ("multi-label", 3): "image-classification",
    ("dense", 3): "image-segmentation",
}
"""Names of Hugging Face for a task and the number of dimensions of a sample."""
PREDICTS = {
    "single-label": "one of {count} classes",
    "multi-label": "which of {count} labels apply",
    "regression": "{count} number{s}",
    "dense": "one of {count} classes for every position",
}


def write_card(info: Mapping[str, Any], facts: Mapping[str, Any], files: Sequence[str]) -> str:
    """Return the text of a model card.

    Args:
        info: content of `export.json`.
        facts: `score`, `data`, `environment`, `commands`, `recipe` (after a search), `words` (what the
            student learned from) and `refit`; see `mfh._export.facts`.
        files: names of the files of the export.
    """
    head = yaml.safe_dump(_metadata(info, facts), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---",
        _about(info, facts),
        _use(info, files),
        _data(info, facts),
        describe_results(info, facts),
        _limits(info, facts),
        _made(facts),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _metadata(info: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    score, student = facts["score"], info["student"]
    pipeline = PIPELINES.get((info["task"], len(student["shape"])))
    found: dict[str, Any] = {"library_name": "mfh"}
    if pipeline:
        found["pipeline_tag"] = pipeline
    learned = ["knowledge-distillation"] if _is_taught(info, facts) else []
    learned += ["crossmodal"] if facts["data"]["needs"] else []
    found["tags"] = ["mfh", *learned, "pytorch", "onnx"]
    found["metrics"] = [score["metric"]]
    value = score["mean"] if score["mean"] is not None else score["test"]
    task = {
        "type": pipeline or info["task"],
        "name": info["task"],
    }
    if value is not None:
        named = {f"test {score['metric']}": (score["metric"], value)}
        if at := score["threshold"]:
            where = f"test {score['metric']}, likelier class" if score["of_classes"] else next(iter(named))
            known = {name: at["mean"][name] for name in ("precision", "recall")}
            named = {where: (score["metric"], value)} | {
                f"test {name} at the threshold": (name, share) for name, share in known.items() if share
            }
        metrics = [
            {"type": kind, "value": round(float(number), 4), "name": name}
            for name, (kind, number) in named.items()
        ]
        dataset = {"name": _source(facts), "type": "custom"}
        result = {"task": task, "dataset": dataset, "metrics": metrics}
        found["model-index"] = [{"name": _title(info), "results": [result]}]
    return found


def _title(info: Mapping[str, Any]) -> str:
    return f"A student that sees {info['student']['modality']}"


def _source(facts: Mapping[str, Any]) -> str:
    return str(facts["data"]["file"] or "data given in Python")


def _about(info: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    student, classes = info["student"], info["class_names"]
    count, positions = len(classes), ", ..." if info["task"] == "dense" else ""
    predicts = PREDICTS[info["task"]].format(count=count, s="" if count == 1 else "s")
    text = [
        f"# {_title(info)}",
        "",
        f"This network predicts {predicts} from the modality `{student['modality']}`. It was trained by `mfh`"
        f", arm `{student['arm']}`: it learned from {facts['words'] or 'what the run says of this arm'}.",
        "",
        f"- Input `inputs`: {student['dtype']}, shape (samples, {', '.join(map(str, student['shape']))}), "
        + _preparation(student),
        f"- Output 0 `scores`: float32, shape (samples, {count}{positions}), "
        + (
            "in the unit of the targets."
            if info["task"] == "regression"
            else "logits; output 1 of the ONNX file, `probabilities`, has them as probabilities."
        ),
        f"- {'Targets' if info['task'] == 'regression' else 'Classes'}, in the order of the outputs: "
        + ", ".join(f"`{one_line(name)}`" for name in classes[:40])
        + (f" and {count - 40} more (see export.json)." if count > 40 else "."),
    ]
    return "\n".join(text)


def _preparation(student: Mapping[str, Any]) -> str:
    if student["transform"] == "unknown":
        return "**after the transform of your data set**, which has no import path and is not in the files."
    return "as the data have it. Standardisation and transforms are inside the network."


def _use(info: Mapping[str, Any], files: Sequence[str]) -> str:
    student = info["student"]
    own = "class_path" in (student["network"] or {})
    shape = ", ".join(map(str, student["shape"]))
    lines = ["## How to use it", "", "| file | what it is |", "|---|---|"]
    known = {
        "model.safetensors": "the weights",
        "model.pt2": "a program of `torch.export`, for any number of samples; needs torch alone",
        "model.onnx": "ONNX, for any number of samples; needs onnxruntime alone",
        "predict.py": "a script of a few lines that predicts without `mfh`",
        "export.json": "class names, shapes, where the network comes from",
        "teacher/focus.json": "the focused teacher, with its weights beside it",
    }
    lines += [f"| `{name}` | {known[name]} |" for name in known if name in files]
    lines += [
        "",
        "```python",
        "import mfh",
        "",
        f"student = mfh.load_export(DIR{', imports=True' if own else ''}).student",
        f"scores = student(values)  # values: a tensor of shape (samples, {shape})",
        "```",
        "",
        "On the command line: `mfh predict DIR --data new.csv --out predictions.csv`.",
    ]
    return "\n".join(lines)


def _data(info: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    data, splits = facts["data"], facts["data"]["splits"] or {}
    size = ", ".join(f"{count} for {name}" for name, count in splits.items())
    lines = ["## Data and labels", "", f"- Data: {_source(facts)}, {data['samples']} samples."]
    if facts.get("refit"):
        lines += [
            f"- Trained on all {facts['refit']['samples']} samples after the study, with what it chose, "
            f"for {facts['refit']['steps']} steps."
        ]
    elif size:
        lines += [f"- This student was trained in one fit: {size} samples."]
    if data["groups"]:
        lines += [f"- The samples belong to {data['groups']} groups; no group is in two splits."]
    label = f"`{data['label']}`" if data["label"] else "the labels of the data"
    lines += [f"- Labels used: {label}, {_label_use(info, facts)}"]
    if facts.get("refit"):
        lines += [f"- Labelled samples in training: {facts['refit']['labelled']}."]
    elif data["labelled"]:
        hidden = " (the study hid the others)" if data["hidden"] else ""
        lines += [f"- Labelled samples in training: {data['labelled']:.0f}{hidden}."]
    if data["needs"]:
        lines += [f"- Needed in training alone: the modality `{data['needs']}`."]
    if data["fingerprint"]:
        lines += [f"- Fingerprint of the data: `{data['fingerprint']}`."]
    return "\n".join(lines)


def _label_use(info: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    weight = facts.get("label_weight")
    if facts["recipe"] is not None:
        return _label_use_of(facts["recipe"], info["task"])
    if info["student"]["loss"] is None:
        return "to train the student."
    if info["student"]["arm"] == "distilled":
        return f"to train the student with weight {weight:g}." if weight else "to choose the best epoch."
    if weight:
        return f"to train the teachers, and the student with weight {weight:g}."
    if facts["data"]["labelled"]:
        return "to train the teachers, and half of the student's soft label where there is one."
    return "to train the teachers, and to choose among students; the student learned from soft labels alone."


def _label_use_of(recipe: Recipe, task: str) -> str:
    """Return how a searched student used the labels."""
    if not recipe.taught:
        return "to choose the recipe and to train the student. It had no teacher."
    output = "output"
    if recipe.hard:
        output = "decisions" if task == "multi-label" else "class"
    teachers = (
        "networks of the student's own modality, which teach it" if recipe.teacher == "self" else "teachers"
    )
    start = f"to choose the recipe, and to train the {teachers}"
    share = recipe.label_weight
    if not share:
        return f"{start}. The student learned from the teacher's {output} alone."
    return (
        f"{start}. In the target of a labelled sample the label has the weight {share:g} and the teacher's "
        f"{output} {1 - share:g}; samples without a label have the teacher's {output} alone."
    )


def _is_taught(info: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    if facts["recipe"] is not None:
        return bool(facts["recipe"].taught)
    return info["student"]["loss"] is not None


def _limits(info: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    modality = info["student"]["modality"]
    closed = (
        "- For samples of a class that is not in the list above: it always names one of these.\n"
        if info["task"] in ("single-label", "dense")
        else ""
    )
    sure = (
        "- As probabilities that are right as often as they say: they were not calibrated.\n"
        if info["calibration"]["temperature"] is None and info["task"] != "regression"
        else ""
    )
    other = facts["data"]["needs"]
    where = f", where the modality `{other}` of training is not available" if other else ""
    return f"""## Intended use

Predictions from `{modality}`, measured and prepared as in the data above{where}.
The results above hold for samples drawn like those of the data.

### What it must not be used for

{closed}{sure}- For values from another sensor, another preparation or another population without a new test.
- For decisions about people, or where a wrong prediction does harm, without a test by group on your own data
  and a person who may overrule it.
- As evidence of a cause: it learned what goes together with the labels in these data."""


def _made(facts: Mapping[str, Any]) -> str:
    environment = facts["environment"]
    known = [command_line(command) for command in facts["commands"]]
    command = "\n".join(dict.fromkeys(filter(None, known))) or "not recorded"
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    python, system = environment.get("python", "?"), environment.get("system", "")
    return f"""## How it was made

```text
{command}
```

mfh {environment.get("mfh", "?")}, Python {python}, {packages}; {system}."""

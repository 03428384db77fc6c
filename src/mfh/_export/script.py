"""The script of an export that predicts without `mfh`."""

from collections.abc import Mapping
from typing import Any

SCRIPT = '''"""Predict without mfh: python predict.py new.csv > out.csv. Needs numpy and ENGINE."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import ENGINE

folder, file = Path(__file__).parent, sys.argv[1]  # a CSV with one line of names, or an array in .npy
info = json.loads((folder / "export.json").read_text())
read = lambda row: [float(row[name]) for name in info["student"].get("columns", row)]
values = np.load(file) if file.endswith(".npy") else np.array([*map(read, csv.DictReader(open(file)))])
inputs = values.reshape(-1, *info["student"]["shape"]).astype(info["student"]["dtype"])
scores = '''
SCORES = {
    "onnxruntime": 'onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"inputs": inputs})[0]\n',
    "torch": 'torch.export.load(folder / "model.pt2").module()(torch.from_numpy(inputs)).detach().numpy()\n',
}
"""How each engine computes the scores."""
ENDS = {
    "single-label": """rows = [["prediction"], *([info["class_names"][k]] for k in scores.argmax(axis=1))]
csv.writer(sys.stdout).writerows(rows)
""",
    "multi-label": """csv.writer(sys.stdout).writerows([info["class_names"], *(scores > 0).astype(int)])
""",
    "regression": """csv.writer(sys.stdout).writerows([info["class_names"], *scores])
""",
    "dense": """np.save("predictions.npy", scores.argmax(axis=1))  # a class for every position
""",
}


THRESHOLD_END = """k, margin = info["threshold"]["index"], info["threshold"]["margin"]
rows = [["prediction"], *([info["class_names"][k if s[k] - s[1 - k] >= margin else 1 - k]] for s in scores)]
csv.writer(sys.stdout).writerows(rows)
"""


def write_script(info: Mapping[str, Any], *, onnx: bool) -> str:
    """Return the text of `predict.py`, which uses the ONNX file if there is one, else the program."""
    end = THRESHOLD_END if "threshold" in info else ENDS[info["task"]]
    engine = "onnxruntime" if onnx else "torch"
    return SCRIPT.replace("ENGINE", engine) + SCORES[engine] + end

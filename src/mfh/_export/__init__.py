"""Export a student of a run as files that can be used without the run, and without `mfh`.

DIR/README.md                        the model card
DIR/export.json                      class names, shapes, where the student comes from, checksums
DIR/model.safetensors                weights
DIR/model.pt2                        torch.export: inputs -> scores, for any number of samples
DIR/model.onnx                       ONNX: inputs -> scores, probabilities
DIR/predict.py                       a script that predicts without `mfh`
DIR/teacher/model.safetensors        if it is asked for: weights of the focused teacher
DIR/teacher/focus.json               its layer, the removed channels and the values that replace them
"""

from mfh._export.files import Exported as Exported
from mfh._export.files import load_export as load_export
from mfh._export.run import export_run as export_run
from mfh._export.runs import load_run as load_run

"""A study's focused teacher and chosen student as files that do without the study.

DIR/export.json                      what was exported, from where, and how it scored
DIR/teacher/model.safetensors        weights
DIR/teacher/focus.json               the layer, the removed channels and what replaces them
DIR/student/model.safetensors        weights
DIR/student/program.pt2              torch.export: inputs -> logits, for any number of samples
"""

from mfh._export.files import Exported as Exported
from mfh._export.files import load_export as load_export
from mfh._export.study import export_study as export_study

"""Export a study's focused teacher and chosen student as files that can be used without the study.

DIR/export.json                      what was exported, from which study, with which scores
DIR/teacher/model.safetensors        weights
DIR/teacher/focus.json               the layer, the removed channels and the values that replace them
DIR/student/model.safetensors        weights
DIR/student/program.pt2              torch.export: inputs -> logits, for any number of samples
"""

from mfh._export.files import Exported as Exported
from mfh._export.files import load_export as load_export
from mfh._export.study import export_study as export_study

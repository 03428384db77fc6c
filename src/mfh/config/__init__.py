"""Typed configurations: the same fields serve Python, YAML and the command line. Free of torch.

Each class checks itself when it is made and reports every broken rule at once.
"""

from mfh.config.checked import Checked as Checked
from mfh.config.checked import Problems as Problems
from mfh.config.diagnosis import DiagnoseConfig as DiagnoseConfig
from mfh.config.fit import FitConfig as FitConfig
from mfh.config.labelled import LabelCount as LabelCount
from mfh.config.study import MOST_SEEDS as MOST_SEEDS
from mfh.config.study import STUDY_CHOICES as STUDY_CHOICES
from mfh.config.study import StudyConfig as StudyConfig
from mfh.config.threshold import ThresholdRule as ThresholdRule
from mfh.config.training import DistillConfig as DistillConfig
from mfh.config.training import TaskName as TaskName
from mfh.config.training import TrainConfig as TrainConfig

SPLITS = ("train", "validation", "test")

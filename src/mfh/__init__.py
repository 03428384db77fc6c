"""Which part of a teacher of one modality can a student of another modality learn from?

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfh._checks import InputError as InputError
    from mfh._diagnose import diagnose as diagnose
    from mfh._distill import DistillResult as DistillResult
    from mfh._distill import distill as distill
    from mfh._export import Exported as Exported
    from mfh._export import load_export as load_export
    from mfh._focus import FocusedTeacher as FocusedTeacher
    from mfh._focus import LayerInfo as LayerInfo
    from mfh._focus import layers as layers
    from mfh._focus import select as select
    from mfh._focus import split as split
    from mfh._report import report as report
    from mfh._saliency import SaliencyAccumulator as SaliencyAccumulator
    from mfh._saliency import SaliencyResult as SaliencyResult
    from mfh._saliency import saliency as saliency
    from mfh._saliency import streaming_saliency as streaming_saliency
    from mfh._study import Plan as Plan
    from mfh._study import fit as fit
    from mfh._study import plan as plan
    from mfh._study import study as study
    from mfh._version import __version__ as __version__
    from mfh.arms import Arm as Arm
    from mfh.arms import register_arm as register_arm
    from mfh.config import DiagnoseConfig as DiagnoseConfig
    from mfh.config import DistillConfig as DistillConfig
    from mfh.config import FitConfig as FitConfig
    from mfh.config import StudyConfig as StudyConfig
    from mfh.config import TrainConfig as TrainConfig
    from mfh.data.paired import PairedDataset as PairedDataset
    from mfh.estimator import CrossmodalClassifier as CrossmodalClassifier
    from mfh.estimator import CrossmodalRegressor as CrossmodalRegressor
    from mfh.metrics import Metric as Metric
    from mfh.metrics import register_metric as register_metric
    from mfh.results import FitResult as FitResult
    from mfh.results import StudyResult as StudyResult
    from mfh.results import load_results as load_results

_HOMES = {
    "InputError": "mfh._checks",
    "diagnose": "mfh._diagnose",
    "FocusedTeacher": "mfh._focus",
    "select": "mfh._focus",
    "report": "mfh._report",
    "SaliencyAccumulator": "mfh._saliency",
    "saliency": "mfh._saliency",
    "streaming_saliency": "mfh._saliency",
    "SaliencyResult": "mfh._saliency",
    "LayerInfo": "mfh._focus",
    "layers": "mfh._focus",
    "split": "mfh._focus",
    "study": "mfh._study",
    "fit": "mfh._study",
    "plan": "mfh._study",
    "Plan": "mfh._study",
    "__version__": "mfh._version",
    "Arm": "mfh.arms",
    "register_arm": "mfh.arms",
    "DiagnoseConfig": "mfh.config",
    "DistillConfig": "mfh.config",
    "FitConfig": "mfh.config",
    "StudyConfig": "mfh.config",
    "TrainConfig": "mfh.config",
    "PairedDataset": "mfh.data.paired",
    "Metric": "mfh.metrics",
    "register_metric": "mfh.metrics",
    "load_results": "mfh.results",
    "DistillResult": "mfh._distill",
    "distill": "mfh._distill",
    "Exported": "mfh._export",
    "load_export": "mfh._export",
    "FitResult": "mfh.results",
    "StudyResult": "mfh.results",
    "CrossmodalClassifier": "mfh.estimator",
    "CrossmodalRegressor": "mfh.estimator",
}
__all__ = tuple(_HOMES)

if not TYPE_CHECKING:  # a type checker that sees `__getattr__` accepts any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(
                f"module 'mfh' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}"
            )
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

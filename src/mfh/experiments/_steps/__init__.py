"""An experiment that is run step by step: train, rank channels, distil. A `Recipe` defines the experiment."""

from mfh.experiments._steps.actions import describe_teachers as describe_teachers
from mfh.experiments._steps.actions import distill as distill
from mfh.experiments._steps.actions import rank as rank
from mfh.experiments._steps.actions import require_options as require_options
from mfh.experiments._steps.actions import train_alone as train_alone
from mfh.experiments._steps.actions import train_pair as train_pair
from mfh.experiments._steps.partial_study import PartialStudy as PartialStudy
from mfh.experiments._steps.recipe import RankedLayer as RankedLayer
from mfh.experiments._steps.recipe import Recipe as Recipe
from mfh.experiments._steps.result import collect as collect
from mfh.experiments._steps.result import describe_saliency as describe_saliency
from mfh.experiments._steps.result import saliency_arrays as saliency_arrays
from mfh.experiments._steps.students import train_student as train_student

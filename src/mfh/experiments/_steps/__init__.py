"""An experiment in steps, each a command: train, rank channels, distil. A `Recipe` says what differs."""

from mfh.experiments._steps.actions import describe_teachers as describe_teachers
from mfh.experiments._steps.actions import distill as distill
from mfh.experiments._steps.actions import rank as rank
from mfh.experiments._steps.actions import require_options as require_options
from mfh.experiments._steps.actions import train_alone as train_alone
from mfh.experiments._steps.actions import train_pair as train_pair
from mfh.experiments._steps.recipe import Recipe as Recipe
from mfh.experiments._steps.recipe import Site as Site
from mfh.experiments._steps.result import collect as collect
from mfh.experiments._steps.result import describe_saliency as describe_saliency
from mfh.experiments._steps.result import saliency_arrays as saliency_arrays
from mfh.experiments._steps.run import Run as Run
from mfh.experiments._steps.students import train_student as train_student

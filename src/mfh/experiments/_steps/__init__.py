"""Partial studies: experiments whose steps are commands on one folder. A `Recipe` defines an experiment."""

from mfh.experiments._steps.partial_study import PartialStudy as PartialStudy
from mfh.experiments._steps.recipe import RankedLayer as RankedLayer
from mfh.experiments._steps.recipe import Recipe as Recipe
from mfh.experiments._steps.result import collect as collect
from mfh.experiments._steps.saliency import describe_saliency as describe_saliency
from mfh.experiments._steps.saliency import load_saliency as load_saliency
from mfh.experiments._steps.saliency import rank as rank
from mfh.experiments._steps.saliency import supply_saliency as supply_saliency
from mfh.experiments._steps.students import distill as distill
from mfh.experiments._steps.students import require_options as require_options
from mfh.experiments._steps.students import train_student as train_student
from mfh.experiments._steps.supplied import supply_network as supply_network
from mfh.experiments._steps.training import describe_teachers as describe_teachers
from mfh.experiments._steps.training import train_pair as train_pair
from mfh.experiments._steps.training import train_teacher as train_teacher

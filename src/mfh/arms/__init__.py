"""The arms of a study as values: what each arm's students learn from, and how the arm is shown.

Everything that depends on an arm reads it from here: which teachers are trained, which students, what they
are compared with, and the words, colours and markers of tables, figures and the report. Free of torch.
"""

from mfh.arms.arm import BASELINE as BASELINE
from mfh.arms.arm import CHOSEN as CHOSEN
from mfh.arms.arm import COLORS as COLORS
from mfh.arms.arm import FOCUSING as FOCUSING
from mfh.arms.arm import HEADLINE as HEADLINE
from mfh.arms.arm import QUESTIONS as QUESTIONS
from mfh.arms.arm import RANKINGS as RANKINGS
from mfh.arms.arm import SEARCHED as SEARCHED
from mfh.arms.arm import SOURCE as SOURCE
from mfh.arms.arm import STACK as STACK
from mfh.arms.arm import TEACHERS as TEACHERS
from mfh.arms.arm import Arm as Arm
from mfh.arms.arm import Look as Look
from mfh.arms.arm import Question as Question
from mfh.arms.arm import Ranking as Ranking
from mfh.arms.arm import ShownArm as ShownArm
from mfh.arms.arm import Teacher as Teacher
from mfh.arms.both import FUSED as FUSED
from mfh.arms.both import arms_of_both as arms_of_both
from mfh.arms.few import SEARCH_ARMS as SEARCH_ARMS
from mfh.arms.registry import ARMS as ARMS
from mfh.arms.registry import DEFAULT as DEFAULT
from mfh.arms.registry import FEW_LABELS as FEW_LABELS
from mfh.arms.registry import FEW_PILOT as FEW_PILOT
from mfh.arms.registry import ONLY_FEW as ONLY_FEW
from mfh.arms.registry import PILOT as PILOT
from mfh.arms.registry import find_arms as find_arms
from mfh.arms.registry import register_arm as register_arm
from mfh.arms.registry import why_no_arm as why_no_arm

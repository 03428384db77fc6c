"""From the records of students to a summary, comparisons and a decision. Free of torch.

Records become one `Table` for each distillation loss; tables become comparisons; comparisons become a
`Decision`. The sentences of the verdict are made elsewhere.
"""

from mfh.comparing.decision import LARGEST_CLASS as LARGEST_CLASS
from mfh.comparing.decision import ONE_OUTPUT as ONE_OUTPUT
from mfh.comparing.decision import Decision as Decision
from mfh.comparing.decision import decide as decide
from mfh.comparing.differences import compare as compare
from mfh.comparing.differences import compare_losses as compare_losses
from mfh.comparing.differences import summarize as summarize
from mfh.comparing.differences import summarize_further as summarize_further
from mfh.comparing.differences import summarize_losses as summarize_losses
from mfh.comparing.intervals import Fit as Fit
from mfh.comparing.intervals import Resampling as Resampling
from mfh.comparing.intervals import compare_arms as compare_arms
from mfh.comparing.intervals import is_better as is_better
from mfh.comparing.intervals import is_none as is_none
from mfh.comparing.intervals import is_worse as is_worse
from mfh.comparing.keys import Key as Key
from mfh.comparing.keys import chosen_key as chosen_key
from mfh.comparing.keys import focused_key as focused_key
from mfh.comparing.keys import focusing_controls as focusing_controls
from mfh.comparing.keys import headline_key as headline_key
from mfh.comparing.keys import sees_teacher_side as sees_teacher_side
from mfh.comparing.keys import source_arm as source_arm
from mfh.comparing.tables import Outcome as Outcome
from mfh.comparing.tables import Outcomes as Outcomes
from mfh.comparing.tables import Table as Table
from mfh.comparing.tables import comparable as comparable
from mfh.comparing.tables import tabulate as tabulate
from mfh.comparing.tables import tabulate_losses as tabulate_losses

"""The Gaussian experiments of the paper, one module each: `fig2`, `fig3`, `table2`, and beyond them `regime`.

    mfh gaussian all --out DIR         the paper's three, a folder each: under 15 s of CPU time

The default seeds and 10 runs give what the released code prints, from the same random streams.
"""

from mfh.experiments.gaussian.running import FIGURES as FIGURES
from mfh.experiments.gaussian.running import PAPER_FIGURES as PAPER_FIGURES
from mfh.experiments.gaussian.running import RECIPES as RECIPES
from mfh.experiments.gaussian.running import check as check
from mfh.experiments.gaussian.running import run as run
from mfh.experiments.gaussian.running import run_all as run_all

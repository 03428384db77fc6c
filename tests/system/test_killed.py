"""Commands killed at random moments and repeated end as if nothing had happened.

`MFH_KILLS` says how often each is killed (default: 2).
"""

import os
from pathlib import Path

import pytest
from kills import CASES, kills

COUNT = int(os.environ.get("MFH_KILLS", "2"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_command_that_was_killed_ends_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    ends = list(kills(CASES[name], tmp_path, COUNT, seed=0))
    assert sum(end["kills"] for end in ends) == COUNT
    assert [end for end in ends if end["differing"]] == []

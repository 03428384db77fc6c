"""Fixtures that several tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import make_paired

from mfh import PairedDataset
from mfh.metrics import METRICS

collect_ignore_glob = ["helpers/*"]


os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"}  # no test uses the network


@pytest.fixture(autouse=True)
def _registered_metrics() -> Iterator[None]:
    """Take back the metrics that a test, or the code of a page, registers."""
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of third-party data, from the environment variable MFH_DATA."""
    folder = os.environ.get("MFH_DATA")
    if not folder:
        pytest.skip("MFH_DATA does not name the folder of third-party data")
    return Path(folder)


@pytest.fixture
def paired() -> PairedDataset:
    return make_paired()

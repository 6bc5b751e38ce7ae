"""Where real data is, if it is there."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: $HEED_TEST_DATA, or shared/data beside the repository."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("HEED_TEST_DATA", beside))
    if not (folder / "multi30k").is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder

"""What every part of the production profile's tests runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ci import local
from ci.settings import KUBECONFIG

if TYPE_CHECKING:
    from ci.release import Cluster


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The local cluster."""
    if not KUBECONFIG.exists():
        pytest.fail(
            "No cluster runs: run 'make test-production', with PART=name for one part.", pytrace=False
        )
    return local.running()

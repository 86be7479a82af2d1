"""Fixtures that the tests of all images share."""

from pathlib import Path

import pytest

from tests.images.certificates import MountedSecret


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    """A mounted certificate that `renew` replaces as the kubelet would."""
    made = MountedSecret(tmp_path)
    made.renew()
    return made

"""Six Redis servers on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.images.redis_keeper.servers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Six servers that run and know nothing of each other."""
    site = Site(tmp_path)
    site.start(*range(6))
    try:
        yield site
    finally:
        site.close()

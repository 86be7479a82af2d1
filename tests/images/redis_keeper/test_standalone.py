"""The guard of a server that stands alone: a real one, without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.server import Server
from lighthouse_redis_keeper.settings import Access
from tests.images.redis_keeper.servers import Site, wait_for
from tests.images.redis_keeper.test_guard import accepts, guard, reload_fails, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Site]:
    """One server without a cluster."""
    site = Site(tmp_path, size=1, clustered=False)
    site.start(0)
    try:
        wait_for(lambda: not reload_fails(guard(site, 0)), "the server answers")
        yield site
    finally:
        site.close()


def test_a_server_alone_gets_clients_while_it_answers(alone: Site) -> None:
    watch = guard(alone, 0)
    assert "cluster_enabled:0" in alone.ask(0, "INFO", "cluster")
    assert watch.missing() == []
    alone.stop(0)
    assert watch.missing() != []
    alone.start(0)
    wait_for(lambda: watch.missing() == [], "it answers again")


def test_a_user_alone_reaches_its_keys_and_no_others(alone: Site) -> None:
    bridge = Server(
        alone.address(0),
        Access(user="bridge", users=alone.users, tls=alone.access.tls, port=alone.port),
    )
    assert bridge.text("SET", "lighthouse:x", "1") == "OK"
    for words in (("SET", "other", "1"), ("FLUSHALL",), ("CONFIG", "GET", "masterauth")):
        with pytest.raises(NodeError, match="permissions"):
            bridge.ask(*words)


def test_a_server_alone_takes_a_new_password_and_certificate_without_a_restart(
    alone: Site, tmp_path: Path
) -> None:
    watch = guard(alone, 0)
    watch.reload()
    process, old = alone.processes[0].pid, served(alone)
    (alone.users / "bridge").write_text("next")
    new = alone.renew()
    assert served(alone) == old
    watch.reload()
    assert served(alone) == new != old
    assert accepts(alone, "bridge", "next", tmp_path / "b")
    assert not accepts(alone, "bridge", "bridge-password", tmp_path / "b")
    assert alone.processes[0].pid == process
    assert alone.processes[0].poll() is None


def test_a_server_alone_that_is_to_stop_may_at_once(alone: Site) -> None:
    watch = guard(alone, 0)
    signals = alone.folder / "signals-0"
    (signals / "stop").touch()
    watch.step()
    assert (signals / "stopped").exists()

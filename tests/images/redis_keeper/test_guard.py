"""The guard with real Redis servers: passwords, rules and certificates change without a restart; it hands over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from redis.crc import key_slot

from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.guard import Guard
from lighthouse_redis_keeper.server import Server
from lighthouse_redis_keeper.settings import Access, GuardSettings
from tests.images.redis_keeper.servers import Site, settle, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.heavy


def guard(site: Site, pod: int) -> Guard:
    """The guard of a pod."""
    signals = site.folder / f"signals-{pod}"
    signals.mkdir(exist_ok=True)
    settings = GuardSettings(
        access=site.access,
        rules=site.rules,
        certificates=site.tls,
        signals=signals,
        clustered=site.clustered,
        handover_seconds=10,
    )
    return Guard(settings, site.address(pod))


def accepts(site: Site, user: str, password: str, folder: Path) -> bool:
    """Whether a node lets a user in with a password."""
    folder.mkdir(exist_ok=True)
    (folder / user).write_text(password)
    server = Server(site.address(0), Access(user=user, users=folder, tls=site.access.tls, port=site.port))
    try:
        return server.text("PING") == "PONG"
    except NodeError:
        return False
    finally:
        server.close()


def test_a_password_changes_in_three_steps_without_refusing_anybody(site: Site, tmp_path: Path) -> None:
    wait_for(lambda: accepts(site, "keeper", "keeper-password", tmp_path / "k"), "the server answers")
    watch = guard(site, 0)
    begun = Server(
        site.address(0),
        Access(user="bridge", users=site.users, tls=site.access.tls, port=site.port),
    )
    assert begun.text("PING") == "PONG"
    for content, old, new in (
        ("bridge-password", True, False),
        ("bridge-password\nnext", True, True),
        ("next\nbridge-password", True, True),
        ("next\n", False, True),
    ):
        (site.users / "bridge").write_text(content)
        watch.reload()
        assert accepts(site, "bridge", "bridge-password", tmp_path / "b") is old, content
        assert accepts(site, "bridge", "next", tmp_path / "b") is new, content
        assert begun.text("PING") == "PONG", "who is connected stays so"


def test_who_shows_no_certificate_is_refused_whatever_the_password(site: Site, tmp_path: Path) -> None:
    wait_for(lambda: accepts(site, "keeper", "keeper-password", tmp_path / "k"), "the server answers")
    without = tmp_path / "without"
    without.mkdir()
    shutil.copy(site.tls / "ca.crt", without)
    server = Server(site.address(0), replace(site.access, tls=without))
    with pytest.raises(NodeError, match="cannot be reached"):
        server.text("PING")


def test_rules_change_without_a_restart(site: Site) -> None:
    watch = guard(site, 0)
    wait_for(lambda: not reload_fails(watch), "the server answers")
    bridge = Server(
        site.address(0),
        Access(user="bridge", users=site.users, tls=site.access.tls, port=site.port),
    )
    with pytest.raises(NodeError, match="no permissions"):
        bridge.ask("CONFIG", "GET", "maxmemory")
    site.rules.write_text(site.rules.read_text().replace("+get +set", "+get +set +config|get"))
    watch.reload()
    assert bridge.ask("CONFIG", "GET", "maxmemory")


def reload_fails(watch: Guard) -> bool:
    """Whether the node cannot be told its files yet."""
    try:
        watch.reload()
    except NodeError:
        return True
    return False


def served(site: Site) -> int:
    """The serial number of the certificate that a node shows."""
    context = ssl.create_default_context(cafile=str(site.tls / "ca.crt"))
    with (
        socket.create_connection((site.address(0), site.port), 5) as plain,
        context.wrap_socket(plain, server_hostname=site.address(0)) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown).serial_number


def test_a_new_certificate_is_shown_without_a_restart(site: Site) -> None:
    watch = guard(site, 0)
    wait_for(lambda: not reload_fails(watch), "the server answers")
    old = served(site)
    new = site.renew()
    assert served(site) == old
    watch.reload()
    assert served(site) == new


def test_a_primary_that_is_to_stop_hands_over_and_a_replica_stops_at_once(site: Site) -> None:
    keeper = site.keeper()
    settle(keeper)
    (pod, *_) = keeper.situation.held
    (heir,) = keeper.situation.followers(pod)
    watch = guard(site, pod)
    # Pods are found by name; on loopback they have none.
    names = {f"redis-{n}.nodes": site.address(n) for n in range(6)}
    original = Server.__init__

    def named(server: Server, host: str, access: Access, *, named: bool = True) -> None:
        original(server, names.get(host, host), access, named=named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "__init__", named)
        (site.folder / f"signals-{pod}" / "stop").touch()
        watch.step()
    assert (site.folder / f"signals-{pod}" / "stopped").exists()
    assert site.view(pod).me.primary == site.view(heir).me.id
    wait_for(lambda: len(site.view(heir).me.slots) > 5000, "the heir has the slots")

    other = guard(site, pod)
    (site.folder / f"signals-{pod}" / "stopped").unlink()
    other.step()
    assert (site.folder / f"signals-{pod}" / "stopped").exists()


def test_a_node_that_has_just_synced_has_written_that_before_it_stops(site: Site) -> None:
    keeper = site.keeper()
    settle(keeper)
    pod, other = list(keeper.situation.held)[:2]
    (replica,) = keeper.situation.followers(pod)
    slots = keeper.situation.held[other]
    tag = next(f"{{{n}}}" for n in range(1000) if key_slot(str(n).encode()) in slots)
    slot, count = key_slot(tag.encode()), 300
    server = Server(site.address(other), site.access)
    server.ask_all([("SET", f"{tag}:{n}", n) for n in range(count)])
    # It takes all of another primary; writing that to its log takes seconds.
    site.ask(replica, "CONFIG", "SET", "rdb-key-save-delay", 10_000)
    site.ask(replica, "CLUSTER", "REPLICATE", keeper.situation.views[other].me.id)
    syncing = Server(site.address(replica), site.access)
    wait_for(lambda: syncing.facts("persistence")["aof_rewrite_in_progress"] == "1", "it writes its log anew")
    watch = guard(site, replica)
    (site.folder / f"signals-{replica}" / "stop").touch()
    watch.step()
    assert (site.folder / f"signals-{replica}" / "stopped").exists()
    site.stop(replica, number=signal.SIGTERM)
    site.stop(other)
    site.start(replica)
    wait_for(lambda: site.answers(replica), "it answers")
    kept = site.ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot)
    assert kept == str(count), "it has every key without its primary"


@pytest.mark.parametrize(
    ("user", "words", "may"),
    [
        ("bridge", ("SET", "lighthouse:x", "1"), True),
        ("bridge", ("GET", "lighthouse:x"), True),
        ("bridge", ("PUBLISH", "lighthouse:x", "1"), True),
        ("bridge", ("SET", "other", "1"), False),
        ("bridge", ("PUBLISH", "other", "1"), False),
        ("bridge", ("KEYS", "*"), False),
        ("bridge", ("FLUSHALL",), False),
        ("bridge", ("CONFIG", "GET", "masterauth"), False),
        ("bridge", ("CLUSTER", "FAILOVER"), False),
        ("bridge", ("ACL", "LIST"), False),
        ("exporter", ("INFO", "all"), True),
        ("exporter", ("SLOWLOG", "LEN"), True),
        ("exporter", ("CONFIG", "GET", "masterauth"), False),
        ("exporter", ("GET", "lighthouse:x"), False),
        ("keeper", ("CLUSTER", "NODES"), True),
        ("keeper", ("FLUSHALL",), False),
        ("keeper", ("SHUTDOWN",), False),
        ("replication", ("PING",), True),
        ("replication", ("GET", "lighthouse:x"), False),
        ("default", ("PING",), False),
    ],
)
def test_each_user_may_do_what_it_needs_and_nothing_else(
    user: str, words: tuple[str, ...], may: bool, site: Site, tmp_path: Path
) -> None:
    keeper = site.keeper()
    wait_for(lambda: len(keeper._nodes.observe(6)) == 6, "the servers answer")
    users = tmp_path / "who"
    users.mkdir()
    (users / user).write_text(f"{user}-password")
    server = Server(site.address(0), Access(user=user, users=users, tls=site.access.tls, port=site.port))
    try:
        server.ask(*words)
        refused = ""
    except NodeError as error:
        refused = str(error)
    # A slot that nobody serves is a later refusal: the rules had let the command through.
    allowed = not refused or "CLUSTERDOWN" in refused or "not served" in refused
    assert allowed is may, refused


@contextlib.contextmanager
def small_volume(site: Site, pod: int) -> Iterator[Path]:
    """A stopped pod's data on a volume of two mebibytes."""
    data = site.folder / f"data-{pod}"
    data.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", data], check=True)
    try:
        yield data
    finally:
        if pod in site.processes:
            site.stop(pod)
        subprocess.run(["umount", data], check=True)


def write(site: Site, count: int) -> int:
    """Write keys until one is refused; returns how many were taken."""
    server = Server(
        site.address(0),
        Access(user="bridge", users=site.users, tls=site.access.tls, port=site.port),
    )
    try:
        for number in range(count):
            try:
                server.ask("SET", f"lighthouse:{number}", "x" * 1000)
            except NodeError:
                return number
        return count
    finally:
        server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small volume")
def test_node_starts_again_after_its_volume_was_full(tmp_path: Path) -> None:
    site = Site(tmp_path, size=1, clustered=False)
    with small_volume(site, 0) as data:
        site.start(0)
        watch = guard(site, 0)
        wait_for(lambda: not reload_fails(watch), "the server answers")
        assert write(site, 100) == 100
        ballast = data / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert write(site, 100_000) < 100_000, "the volume is full"
        watch.step()
        assert watch.rewrites == 0
        ballast.unlink()
        wait_for(lambda: write(site, 100) == 100, "writes are taken again")

        def mended() -> bool:
            watch.step()
            return watch.rewrites == 1

        wait_for(mended, "the log is written anew")
        watch.step()
        assert watch.rewrites == 1
        site.stop(0)
        logs = list((data / "appendonlydir").glob("*.incr.aof"))
        assert [file.name for file in logs if b"\0" in file.read_bytes()] == []
        site.start(0)
        wait_for(lambda: watch.missing() == [], "the server answers again")
        assert site.ask(0, "GET", "lighthouse:0") == "x" * 1000

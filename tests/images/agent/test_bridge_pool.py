"""Clients of a bridge over TLS: they prove who they are, and go on when all certificates change."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from lighthouse_agent.bridge_pool import BridgePool, TlsFilesError
from lighthouse_agent.client import BridgeClient
from lighthouse_agent.errors import BridgeUnreachableError
from lighthouse_agent.settings import BridgeSettings
from lighthouse_fuse_csi import bridge as fuse
from lighthouse_fuse_csi.fuse_metrics import Metrics
from lighthouse_fuse_csi.settings import sidecar_settings
from tests.images.bridge.support import KEYS, Bridge, running
from tests.images.certificates import MountedSecret, new_authority


@pytest.fixture
def guarded(secret: MountedSecret, tmp_path: Path) -> Iterator[Bridge]:
    """A bridge that serves clients with a certificate only."""
    env = {
        "LIGHTHOUSE_TLS_DIR": str(secret.folder),
        "LIGHTHOUSE_TLS_CLIENTS": "verified",
        "LIGHTHOUSE_TLS_RELOAD_SECONDS": "0.1",
        "LIGHTHOUSE_TLS_HANDOVER_SECONDS": "0.5",
    }
    with running(Bridge(tmp_path / "state", env)) as started:
        yield started


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEYS["builder"])
    return path


@pytest.fixture
def calls(guarded: Bridge, secret: MountedSecret, key_file: Path) -> dict[str, Callable[[], object]]:
    """What the agent and the file system ask of the bridge, each over a client that lives on."""
    agent = BridgeClient(BridgeSettings(guarded.url, "agent", key_file, secret.folder))
    environment = {
        "LIGHTHOUSE_BRIDGE_URL": guarded.url,
        "LIGHTHOUSE_BRIDGE_TLS_DIR": str(secret.folder),
        "LIGHTHOUSE_AGENT_ID": "sidecar",
        "LIGHTHOUSE_KEY_FILE": str(key_file),
    }
    sidecar = fuse.Bridge(sidecar_settings(environment), Metrics())
    return {"agent": agent.tree, "file system": sidecar.manifest}


@pytest.mark.heavy
def test_clients_go_on_when_certificates_and_their_authority_change(
    guarded: Bridge, secret: MountedSecret, calls: dict[str, Callable[[], object]]
) -> None:
    for change in ("first", "certificate", "authority"):
        if change == "authority":
            secret.authority = new_authority()
        before = guarded.log.read_text().count("a new certificate is shown")
        if change != "first":
            secret.renew()
            guarded.wait_for(
                lambda: guarded.log.read_text().count("a new certificate is shown") > before  # noqa: B023 - used at once
            )
        for name, call in calls.items():
            assert call(), (change, name)


def test_a_client_without_a_certificate_is_not_served(
    guarded: Bridge, secret: MountedSecret, key_file: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "authority-only"
    bare.mkdir()
    (bare / "ca.crt").write_bytes((secret.folder / "ca.crt").read_bytes())
    for folder in (bare, None):
        client = BridgeClient(BridgeSettings(guarded.url, "agent", key_file, folder))
        with pytest.raises(BridgeUnreachableError):
            client.ready()


def test_a_bridge_of_another_authority_gets_no_key(guarded: Bridge, key_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = MountedSecret(other)
    stranger.renew()
    client = BridgeClient(BridgeSettings(guarded.url, "agent", key_file, stranger.folder))
    with pytest.raises(BridgeUnreachableError, match="certificate verify failed"):
        client.tree()
    assert "session" not in guarded.log.read_text()


def test_files_that_cannot_be_used_are_named_and_leave_those_before_in_use(secret: MountedSecret) -> None:
    with pytest.raises(TlsFilesError, match="/nonexistent cannot be used"):
        BridgePool(Path("/nonexistent")).request("GET", "https://127.0.0.1:9/")
    pool = BridgePool(secret.folder, retries=False)
    for broken in ({}, {"tls_key": b"nonsense"}, {"ca_crt": b""}):
        secret.renew(**broken)
        with pytest.raises(urllib3.exceptions.NewConnectionError):
            pool.request("GET", "https://127.0.0.1:9/")

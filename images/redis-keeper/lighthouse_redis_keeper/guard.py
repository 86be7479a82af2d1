"""The guard of one pod: keeps its node's users, certificates and log of writes good, and hands over before it stops."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import structlog

from lighthouse_redis_keeper.accounts import user_commands
from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_redis_keeper.settings import GuardSettings

log = structlog.get_logger()

CERTIFICATE_FILES = {"tls-ca-cert-file": "ca.crt", "tls-cert-file": "tls.crt", "tls-key-file": "tls.key"}
HOST = "127.0.0.1"
ASKED, ANSWERED = "stop", "stopped"
LOOK_SECONDS = 2.0
"""How often the mounted files are looked at."""


class Guard:
    """Looks after the node on this pod's loopback address."""

    def __init__(self, settings: GuardSettings, host: str = HOST) -> None:
        self._settings = settings
        self._server = Server(host, settings.access, named=False)
        self._applied: dict[str, str] = {}
        self._looked = 0.0
        self._log_is_doubtful = self._asked_rewrite = False
        self.reloads = 0
        self.rewrites = 0

    def step(self) -> None:
        """Do what is due; what fails is logged and tried again at the next step."""
        asked = self._settings.signals / ASKED
        try:
            if asked.exists() and not (self._settings.signals / ANSWERED).exists():
                deadline = time.monotonic() + self._settings.handover_seconds
                self.hand_over(deadline)
                self.wait_written(deadline)
                (self._settings.signals / ANSWERED).touch()
            if time.monotonic() - self._looked > LOOK_SECONDS:
                self._looked = time.monotonic()
                self.reload()
            self.mend_log()
        except (NodeError, OSError) as error:
            log.info("not now", error=str(error))

    def reload(self) -> None:
        """Let the node read what changed in the mounted files; raises NodeError and OSError."""
        settings = self._settings
        users = [settings.rules, *sorted(settings.access.users.iterdir())]
        if self._is_new("users", state := _fingerprint(users)):
            for command in user_commands(settings.rules, settings.access):
                self._server.ask(*command)
            self._server.ask("CONFIG", "SET", "masterauth", settings.access.passwords("replication")[0])
            self._note("users", state)
        files = {option: settings.certificates / name for option, name in CERTIFICATE_FILES.items()}
        if self._is_new("certificates", state := _fingerprint(list(files.values()))):
            self._server.ask("CONFIG", "SET", *(str(word) for pair in files.items() for word in pair))
            self._note("certificates", state)

    def mend_log(self) -> None:
        """Have the log of writes written anew once writes to it, which failed, succeed again; raises NodeError.

        A write that a full volume cuts short may leave zeros within the log (Redis 7.0 goes on behind what it cut off
        again), and a node with such a log does not start.
        """
        facts = self._server.facts("persistence")
        if facts.get("aof_last_write_status", "ok") != "ok":
            self._log_is_doubtful = True
        elif _is_rewriting(facts):
            pass
        elif self._log_is_doubtful:
            log.warning("the log of writes had errors and is written anew")
            self._server.ask("BGREWRITEAOF")
            self._log_is_doubtful, self._asked_rewrite = False, True
        elif self._asked_rewrite:
            self._asked_rewrite = False
            # Not written, be it for want of room: once more.
            self._log_is_doubtful = facts["aof_last_bgrewrite_status"] != "ok"
            self.rewrites += not self._log_is_doubtful

    def hand_over(self, deadline: float) -> None:
        """Let a replica become the primary, if this node is one and has any; returns when it is or time is up."""
        if not self._settings.clustered:
            return
        tried: set[str] = set()
        while time.monotonic() < deadline:
            heirs = self._heirs()
            if not heirs:
                return
            heir = next((host for host in heirs if host not in tried), heirs[0])
            tried.add(heir)
            log.info("hand over", to=heir)
            server = Server(heir, self._settings.access)
            try:
                server.ask("CLUSTER", "FAILOVER")
                if self._is_replica_within(min(3.0, deadline - time.monotonic())):
                    return
            except NodeError as error:
                log.info("the replica did not take over", error=str(error))
            finally:
                server.close()

    def wait_written(self, deadline: float) -> None:
        """Wait until the log of writes is not written anew, or time is up: what came with a sync is not yet in it."""
        while time.monotonic() < deadline:
            if not _is_rewriting(self._server.facts("persistence")):
                return
            time.sleep(0.1)

    def missing(self) -> list[str]:
        """Why the node should get no clients; empty when it may. A replica that syncs should not, for example."""
        try:
            if not self._settings.clustered:
                self._server.ask("PING")
                return []
            view = self._server.view(0)
        except NodeError as error:
            return [str(error)]
        reasons = [] if view.whole else ["the cluster is not complete"]
        return reasons if view.linked else [*reasons, "the primary is not followed"]

    def _heirs(self) -> list[str]:
        """Hosts of replicas that follow this primary closely, the closest first; none for a replica."""
        view = self._server.view(0)
        if view.me.primary or not view.me.slots:
            return []
        facts = self._server.facts("replication")
        offsets: dict[str, int] = {}
        for name, text in facts.items():
            if name.startswith("slave") and "state=online" in text:
                fields = dict(part.split("=", 1) for part in text.split(","))
                offsets[fields["ip"]] = int(fields["offset"])
        if not offsets:
            return []
        following = [m for m in view.members.values() if m.primary == view.me.id and not m.failed]
        following.sort(key=lambda member: -offsets.get(member.ip, 0))
        return [member.host for member in following if member.host]

    def _is_replica_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._server.facts("replication").get("role") == "slave":
                return True
            time.sleep(0.1)
        return False

    def _is_new(self, what: str, state: str) -> bool:
        return self._applied.get(what) != state

    def _note(self, what: str, state: str) -> None:
        self._applied[what] = state
        self.reloads += 1
        log.info("the node has read its files", what=what)


def _is_rewriting(facts: dict[str, str]) -> bool:
    return "1" in {facts.get("aof_rewrite_in_progress"), facts.get("aof_rewrite_scheduled")}


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()

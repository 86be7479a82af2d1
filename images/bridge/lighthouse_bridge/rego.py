"""Policies in Rego, evaluated in this process or by an OPA server. They see a call as the judge parsed it, and can
only be stricter than the rules: whatever fails is for the caller to refuse."""

from __future__ import annotations

import asyncio
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import urllib3
from regopy import Interpreter, RegoError

from .decisions.rules import RISKS, Id, RulesError, Sentence
from .decisions.verdict import Decision, Finding

if TYPE_CHECKING:
    from pathlib import Path

    from .rego_settings import PolicyServer

QUERY = "data.lighthouse.decisions"
SECONDS = 1.0
MAX_ANSWER_BYTES = 256 * 1024
# RFC 6750, 2.1.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class EngineError(Exception):
    """The policies gave no answer that can be used; the message completes "because …"."""


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One element of `data.lighthouse.decisions`."""

    decision: Literal["review", "block"]
    rule: Id
    reason: Sentence
    risk: Literal["medium", "high", "critical"] = "high"


class Engine(Protocol):
    """Asks policies about a call; `version` changes with them, as far as that is known here."""

    version: str

    async def ask(self, document: dict[str, Any]) -> list[Finding]:
        """What the policies have against the call; raises EngineError when they do not answer."""


class InProcess:
    """The `*.rego` files of a folder, compiled once. Raises RulesError when they cannot be used."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.rego"))
        if not paths:
            raise RulesError(
                f"The folder {folder} has no policy (*.rego); mount one or unset LIGHTHOUSE_REGO_DIR."
            )
        self._interpreter = Interpreter()
        digest = hashlib.sha256()
        try:
            for path in paths:
                content = path.read_text()
                digest.update(f"{path.name}\0{len(content)}\0{content}".encode())
                self._interpreter.add_module(path.name, content)
            self._bundle = self._interpreter.build(QUERY, [])
        except (RegoError, OSError, UnicodeError) as error:
            cause = " ".join(str(error).split())[:300]
            raise RulesError(f"The policies in {folder} cannot be used: {cause}.") from None
        self.version = digest.hexdigest()[:12]
        # The interpreter serves one thread at a time.
        self._thread = ThreadPoolExecutor(1, "rego")

    async def ask(self, document: dict[str, Any]) -> list[Finding]:
        """What the policies have against the call; raises EngineError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SECONDS):
                answer = await loop.run_in_executor(self._thread, self._query, document)
        except TimeoutError:
            raise EngineError(f"the policies took longer than {SECONDS:g} s") from None
        return read_refusals(answer)

    def _query(self, document: dict[str, Any]) -> Any:
        try:
            self._interpreter.set_input(document)
            output = self._interpreter.query_bundle(self._bundle)
            if not output.ok() or not output.results or not output.results[0].expressions:
                raise EngineError(f"the policies define no {QUERY}")
            return output.results[0].expressions[0]
        except RegoError as error:
            raise EngineError(f"the policies failed: {' '.join(str(error).split())[:200]}") from None


class Server:
    """An OPA server, asked with the bridge's token over a connection whose certificate is verified."""

    def __init__(self, server: PolicyServer) -> None:
        self._server = server
        # The authorities are read again for every new connection.
        self._pool = urllib3.PoolManager(
            retries=False,
            timeout=SECONDS,
            maxsize=8,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(server.ca_file) if server.ca_file else None,
        )
        # The server does not say which policies it has.
        self.version = "server"

    async def ask(self, document: dict[str, Any]) -> list[Finding]:
        """What the policies have against the call; raises EngineError."""
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.to_thread(self._query, document)
        except TimeoutError:
            raise EngineError(f"the policy server took longer than {SECONDS:g} s") from None

    def _query(self, document: dict[str, Any]) -> list[Finding]:
        headers = self._credentials()
        try:
            answer = self._pool.request(
                "POST", self._server.url, json={"input": document}, headers=headers, redirect=False
            )
            if answer.status in {401, 403}:
                raise EngineError(
                    f"the policy server answered {answer.status}; give the bridge a token that it admits, by "
                    "LIGHTHOUSE_REGO_TOKEN_FILE"
                )
            body = msgspec.json.decode(answer.data[:MAX_ANSWER_BYTES])
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError, OSError) as error:
            raise EngineError(f"the policy server did not answer: {str(error)[:200]}") from None
        if answer.status != 200 or not isinstance(body, dict) or "result" not in body:
            raise EngineError(f"the policy server answered {answer.status} without {QUERY}")
        return read_refusals(body["result"])

    def _credentials(self) -> dict[str, str]:
        """The token as it is now: whoever rotates it restarts nobody."""
        path = self._server.token_file
        if path is None:
            return {}
        try:
            token = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EngineError(f"the token {path} cannot be read: {error}") from None
        if not _TOKEN.fullmatch(token):
            raise EngineError(f"{path} holds no bearer token; write one line of letters, digits and -._~+/=")
        return {"Authorization": f"Bearer {token}"}


def read_refusals(answer: Any) -> list[Finding]:
    """Findings of an answer; raises EngineError for one that is no set of refusals."""
    try:
        refusals = msgspec.convert(answer, list[Refusal])
    except msgspec.ValidationError as error:
        raise EngineError(f"the policies answered something else than refusals: {error}") from None
    decisions = {"review": Decision.REVIEW, "block": Decision.BLOCK}
    return [
        Finding(decisions[one.decision], RISKS[one.risk], one.rule, "", one.reason, "rego")
        for one in refusals
    ]

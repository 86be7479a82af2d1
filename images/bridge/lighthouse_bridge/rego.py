"""Policies in Rego, evaluated beside the event loop or by an OPA server. They can only be stricter than the rules:
whatever fails is for the caller to refuse."""

from __future__ import annotations

import asyncio
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import urllib3

from . import tracing
from .decisions.rego import QUERY, EngineError, Policies, read_refusals
from .remote import CredentialError

if TYPE_CHECKING:
    from pathlib import Path

    from .decisions.verdict import Finding
    from .remote import Remote

SECONDS = 1.0
MAX_ANSWER_BYTES = 256 * 1024


class Engine(Protocol):
    """Asks policies about a call; `version` changes with them, as far as that is known here."""

    version: str

    async def ask(self, document: dict[str, Any]) -> list[Finding]:
        """What the policies have against the call; raises EngineError when they do not answer."""


class InProcess:
    """The policies of a folder, in a thread of their own. Raises RulesError when they cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._policies = Policies(folder)
        self.version = self._policies.version
        self._thread = ThreadPoolExecutor(1, "rego")

    async def ask(self, document: dict[str, Any]) -> list[Finding]:
        """What the policies have against the call; raises EngineError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SECONDS):
                return await loop.run_in_executor(self._thread, self._policies.ask, document)
        except TimeoutError:
            raise EngineError(f"the policies took longer than {SECONDS:g} s") from None


class Server:
    """An OPA server, asked with the bridge's token over a connection whose certificate is verified."""

    def __init__(self, server: Remote) -> None:
        self._server = server
        # The authorities are read again for every new connection.
        self._pool = urllib3.PoolManager(
            retries=False,
            timeout=SECONDS,
            maxsize=8,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(server.ca_file) if server.ca_file else None,
        )
        # Rules that are read again bring an engine of their own: this one's connections end with it.
        weakref.finalize(self, self._pool.clear)
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
        try:
            headers = self._server.credentials() | tracing.carried()
            answer = self._pool.request(
                "POST", self._server.url, json={"input": document}, headers=headers, redirect=False
            )
            if answer.status in {401, 403}:
                raise EngineError(
                    f"the policy server answered {answer.status}; give the bridge a token that it admits, by "
                    "LIGHTHOUSE_REGO_TOKEN_FILE"
                )
            body = msgspec.json.decode(answer.data[:MAX_ANSWER_BYTES])
        except CredentialError as error:
            raise EngineError(str(error)) from None
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError, OSError) as error:
            raise EngineError(f"the policy server did not answer: {str(error)[:200]}") from None
        if answer.status != 200 or not isinstance(body, dict) or "result" not in body:
            raise EngineError(f"the policy server answered {answer.status} without {QUERY}")
        return read_refusals(body["result"])

"""A client outside the cluster: it knows the edge's host name, the authority, and an address to connect to."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from websockets.sync.client import connect

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.sync.client import ClientConnection

HOST = "lighthouse.example.com"
USER_AGENT = "edge tests"
# So many, balanced by chance, meet both replicas of the controller.
CONNECTIONS = 12


@dataclass(frozen=True)
class Outside:
    """Connections to the edge at `address`, verified against the authority in the file `authority`."""

    address: str
    http_port: int
    https_port: int
    authority: Path

    @property
    def origin(self) -> str:
        """The edge as its clients write it."""
        return f"https://{HOST}:{self.https_port}"

    def trust(self) -> ssl.SSLContext:
        """TLS that believes the authority alone."""
        return ssl.create_default_context(cafile=str(self.authority))

    def client(self, token: str = "", host: str = HOST) -> httpx.Client:
        """A client over TLS that asks for `host`, with a session's token if there is one."""
        headers = {"Host": f"{host}:{self.https_port}", "User-Agent": USER_AGENT}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(
            base_url=f"https://{self.address}:{self.https_port}",
            headers=headers,
            verify=self.trust(),
            timeout=30,
            event_hooks={"request": [_name_host]},
        )

    def is_served(self) -> bool:
        """Whether a bridge that is ready answers every new connection, whichever replica of the controller has it."""
        try:
            return all(self._is_ready() for _ in range(CONNECTIONS))
        except httpx.TransportError:
            return False

    def _is_ready(self) -> bool:
        with self.client() as client:
            return client.get("/ready").status_code == 200

    def serial(self) -> str:
        """The serial number of the certificate that the edge shows to a new client."""
        with self.raw() as connection:
            return str((connection.getpeercert() or {})["serialNumber"])

    def plain(self, path: str, method: str = "GET") -> httpx.Response:
        """What is answered to plain HTTP; a redirect is not followed."""
        url = f"http://{self.address}:{self.http_port}{path}"
        return httpx.request(method, url, headers={"Host": f"{HOST}:{self.http_port}"}, timeout=30)

    def raw(self) -> ssl.SSLSocket:
        """A connection over TLS, to say anything on."""
        plain = socket.create_connection((self.address, self.https_port), timeout=10)
        context = self.trust()
        context.set_alpn_protocols(["http/1.1"])
        return context.wrap_socket(plain, server_hostname=HOST)

    def websocket(self, token: str, agent: str) -> ClientConnection:
        """The WebSocket of an agent's session."""
        return connect(
            f"wss://{HOST}:{self.https_port}/ws/{agent}",
            sock=socket.create_connection((self.address, self.https_port), timeout=10),
            ssl=self.trust(),
            server_hostname=HOST,
            additional_headers={"Authorization": f"Bearer {token}"},
            user_agent_header=USER_AGENT,
        )

    def session(self, key: str, agent: str, **headers: str) -> str:
        """The token of a new session with a role's join key."""
        body = {"agent_id": agent, "ip_address": "127.0.0.1", "user_agent": USER_AGENT}
        with self.client() as client:
            answer = client.post(
                "/session/create", json=body, headers={"Authorization": f"Bearer {key}", **headers}
            )
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["session_token"]
        return token


def _name_host(request: httpx.Request) -> None:
    """The name that TLS asks for and verifies, since the address is another."""
    request.extensions = {**request.extensions, "sni_hostname": HOST}

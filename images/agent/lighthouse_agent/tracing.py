"""The hook's part of a trace: one span, the parent of those of the bridge, for an OpenTelemetry collector.

It is sent as OTLP in JSON: loading OpenTelemetry's SDK takes longer than the whole hook, for which a tool waits.
"""

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lighthouse_agent.errors import one_line

URL, RATIO = "LIGHTHOUSE_TRACES_URL", "LIGHTHOUSE_TRACES_RATIO"
TOKEN_FILE, CA_FILE = "LIGHTHOUSE_TRACES_TOKEN_FILE", "LIGHTHOUSE_TRACES_CA_FILE"
# Whoever starts programs within a trace of its own names it so.
PARENT = "TRACEPARENT"
DEFAULT_RATIO = 0.1
SEND_SECONDS = 0.3
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SPAN_KIND_CLIENT = 3


@dataclass(frozen=True)
class Trace:
    """A trace that this call is part of: `parent` is the span around the hook, if there is one, `span` the hook's
    own, empty where it makes none."""

    trace: str
    parent: str
    span: str
    sampled: bool
    began_ns: int = field(default_factory=time.time_ns)

    @property
    def headers(self) -> dict[str, str]:
        """What the bridge is told."""
        return {"traceparent": f"00-{self.trace}-{self.span or self.parent}-{int(self.sampled):02x}"}


def begin(env: Mapping[str, str]) -> Trace | None:
    """The trace that the environment names or, if spans are wanted, a new one; None if there is neither."""
    given = _TRACEPARENT.fullmatch(env.get(PARENT, ""))
    if given is None and not env.get(URL):
        return None
    span = secrets.token_hex(8) if env.get(URL) else ""
    if given is not None:
        return Trace(given[1], given[2], span, bool(int(given[3], 16) & 1))
    return Trace(secrets.token_hex(16), "", span, secrets.randbelow(10**6) < _ratio(env) * 10**6)


def _ratio(env: Mapping[str, str]) -> float:
    try:
        return float(env.get(RATIO) or DEFAULT_RATIO)
    except ValueError:
        return DEFAULT_RATIO


def end(trace: Trace | None, env: Mapping[str, str], outcome: str) -> str:
    """Send the hook's span, if it has one; what went wrong, or an empty text. Takes SEND_SECONDS at most."""
    if trace is None or not trace.span or not trace.sampled:
        return ""
    document, said = json.dumps(_document(trace, env, outcome)), ["no answer in time"]

    def work() -> None:
        try:
            said[0] = _send(document.encode(), env)
        except Exception as error:  # whatever it is, the verdict stands
            said[0] = one_line(str(error) or type(error).__name__)

    # A thread, since resolving a name can hang where no exception reaches.
    sender = threading.Thread(target=work, daemon=True)
    sender.start()
    sender.join(SEND_SECONDS)
    return said[0] and f"Lighthouse could not send this call's span to {URL}: {said[0]}"


def _send(document: bytes, env: Mapping[str, str]) -> str:
    import urllib3  # noqa: PLC0415 - for those who want spans

    url, headers = env[URL], {"Content-Type": "application/json", "User-Agent": "lighthouse-hook"}
    if not url.startswith(("https://", "http://")):
        return "it must begin with https:// or http://"
    if url.startswith("http://") and (env.get(TOKEN_FILE) or env.get(CA_FILE)):
        return f"http:// would show the token to everybody on the way; write https://, or unset {TOKEN_FILE} and {CA_FILE}"
    if token_file := env.get(TOKEN_FILE):
        headers["Authorization"] = f"Bearer {Path(token_file).read_text('ascii').strip()}"
    pool = urllib3.PoolManager(
        retries=False, timeout=SEND_SECONDS, cert_reqs="CERT_REQUIRED", ca_certs=env.get(CA_FILE) or None
    )
    answer = pool.request("POST", url, body=document, headers=headers, redirect=False)
    return "" if 200 <= answer.status < 300 else f"the collector answered {answer.status}"


def _document(trace: Trace, env: Mapping[str, str], outcome: str) -> dict[str, object]:
    """An ExportTraceServiceRequest with one span, which says neither what the tool does nor to what."""
    span: dict[str, object] = {
        "traceId": trace.trace,
        "spanId": trace.span,
        "name": "lighthouse-hook",
        "kind": _SPAN_KIND_CLIENT,
        "startTimeUnixNano": str(trace.began_ns),
        "endTimeUnixNano": str(time.time_ns()),
        "attributes": [_attribute("lighthouse.outcome", outcome)],
    }
    if trace.parent:
        span["parentSpanId"] = trace.parent
    resource = [
        _attribute("service.name", "lighthouse-hook"),
        _attribute("service.instance.id", env.get("LIGHTHOUSE_AGENT_ID") or os.uname().nodename),
    ]
    scope = {"scope": {"name": "lighthouse-hook"}, "spans": [span]}
    return {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [scope]}]}


def _attribute(name: str, value: str) -> dict[str, object]:
    return {"key": name, "value": {"stringValue": value}}

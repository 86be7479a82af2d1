"""Whether a web address may be fetched. Pure: no name is resolved."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from .verdict import Decision, Finding, Risk

_PRIVATE_ENDINGS = (".local", ".internal", ".svc", ".localhost", ".lan", ".home", ".corp")


def judge_url(url: str) -> list[Finding]:
    """Findings against an address that is not on the public web."""
    shown = url[:100]
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port
    except ValueError:
        return [_blocked(shown, "cannot be read; write it as https://host/path")]
    if parts.scheme not in {"http", "https"} or not host:
        return [_blocked(shown, "is not on the web; name one that begins with https://")]
    if parts.username is not None or parts.password is not None:
        return [_blocked(shown, "carries credentials; leave them out")]
    if _is_private(host):
        return [_blocked(shown, "is not on the public web; ask the operator for what is behind it")]
    if port not in {None, 80, 443}:
        reason = f"The address {shown!r} names an unusual port; use 80 or 443."
        return [Finding(Decision.REVIEW, Risk.MEDIUM, "url.port", shown, reason)]
    return []


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        # Names without a dot are local; a last label of digits or 0x is an address in disguise.
        last = host.rsplit(".", 1)[-1].lower()
        disguised = last.isdigit() or last.startswith("0x")
        return "." not in host or disguised or host.lower().endswith(_PRIVATE_ENDINGS)


def _blocked(url: str, what: str) -> Finding:
    return Finding(Decision.BLOCK, Risk.HIGH, "url.refused", url, f"The address {url!r} {what}.")

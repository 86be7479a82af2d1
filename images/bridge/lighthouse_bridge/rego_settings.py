"""Where policies in Rego are: read once at start. What rotates is named by file and read whenever it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


class RegoSettingsError(ValueError):
    """A setting cannot be used; the message is one sentence for the operator."""


@dataclass(frozen=True, kw_only=True)
class PolicyServer:
    """An OPA server: `url` names its document. Without `ca_file` the system's authorities vouch for it."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


def read_policy_server(env: Mapping[str, str]) -> PolicyServer | None:
    """The checked `LIGHTHOUSE_REGO_URL`, `…_TOKEN_FILE` and `…_CA_FILE`, or None without a URL; raises
    RegoSettingsError."""
    url = env.get("LIGHTHOUSE_REGO_URL", "")
    token_file = _file(env, "LIGHTHOUSE_REGO_TOKEN_FILE")
    ca_file = _file(env, "LIGHTHOUSE_REGO_CA_FILE")
    if not url:
        if token_file or ca_file:
            raise RegoSettingsError(
                "LIGHTHOUSE_REGO_TOKEN_FILE or LIGHTHOUSE_REGO_CA_FILE is set without a server; name it with "
                "LIGHTHOUSE_REGO_URL or unset them."
            )
        return None
    if env.get("LIGHTHOUSE_REGO_DIR"):
        raise RegoSettingsError("LIGHTHOUSE_REGO_DIR and LIGHTHOUSE_REGO_URL are both set; keep one.")
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password:
        # The text is not repeated: it may hold a password.
        raise RegoSettingsError(
            "LIGHTHOUSE_REGO_URL holds a user or password; use LIGHTHOUSE_REGO_TOKEN_FILE instead."
        )
    if parts.scheme not in {"http", "https"} or not host:
        raise RegoSettingsError(
            f"LIGHTHOUSE_REGO_URL is {url!r}; name a document of an OPA server, such as "
            "https://opa:8181/v1/data/lighthouse/decisions."
        )
    if parts.scheme == "http" and (token_file or ca_file):
        raise RegoSettingsError(
            "LIGHTHOUSE_REGO_URL begins with http://, which would show the token to everybody on the way and "
            "verify nobody; write https://, or unset LIGHTHOUSE_REGO_TOKEN_FILE and LIGHTHOUSE_REGO_CA_FILE."
        )
    return PolicyServer(url=url, token_file=token_file, ca_file=ca_file)


def _file(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    if not text:
        return None
    path = Path(text)
    if not path.is_absolute():
        raise RegoSettingsError(f"{name} is {text!r}; it must be an absolute path.")
    # Whether it can be read is no matter of the start: it may be written, or rotated, later.
    return path

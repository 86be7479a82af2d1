"""Where policies in Rego are: read once at start. What rotates is named by file and read whenever it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .environment import SettingsError, read_optional_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class PolicyServer:
    """An OPA server: `url` names its document. Without `ca_file` the system's authorities vouch for it."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


def read_policy_server(env: Mapping[str, str]) -> PolicyServer | None:
    """The checked `LIGHTHOUSE_REGO_URL`, `…_TOKEN_FILE` and `…_CA_FILE`, or None without a URL; raises
    SettingsError."""
    url = env.get("LIGHTHOUSE_REGO_URL", "")
    token_file = read_optional_path(env, "LIGHTHOUSE_REGO_TOKEN_FILE")
    ca_file = read_optional_path(env, "LIGHTHOUSE_REGO_CA_FILE")
    if not url:
        if token_file or ca_file:
            raise SettingsError(
                "LIGHTHOUSE_REGO_TOKEN_FILE or LIGHTHOUSE_REGO_CA_FILE is set without a server; name it with "
                "LIGHTHOUSE_REGO_URL or unset them."
            )
        return None
    if env.get("LIGHTHOUSE_REGO_DIR"):
        raise SettingsError("LIGHTHOUSE_REGO_DIR and LIGHTHOUSE_REGO_URL are both set; keep one.")
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password:
        # The text is not repeated: it may hold a password.
        raise SettingsError(
            "LIGHTHOUSE_REGO_URL holds a user or password; use LIGHTHOUSE_REGO_TOKEN_FILE instead."
        )
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingsError(
            f"LIGHTHOUSE_REGO_URL is {url!r}; name a document of an OPA server, such as "
            "https://opa:8181/v1/data/lighthouse/decisions."
        )
    if parts.scheme == "http" and (token_file or ca_file):
        raise SettingsError(
            "LIGHTHOUSE_REGO_URL begins with http://, which would show the token to everybody on the way and "
            "verify nobody; write https://, or unset LIGHTHOUSE_REGO_TOKEN_FILE and LIGHTHOUSE_REGO_CA_FILE."
        )
    return PolicyServer(url=url, token_file=token_file, ca_file=ca_file)

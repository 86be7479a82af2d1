"""Servers of others that the bridge talks to over HTTP: where they are, and as whom it speaks to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .environment import SettingsError, read_optional_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# RFC 6750, 2.1.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class CredentialError(Exception):
    """A bearer token cannot be used; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A server. Without `ca_file` the system's authorities vouch for it. Read once at start; the files are read
    whenever they are used."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    def credentials(self) -> dict[str, str]:
        """The header with the token as it is now, since whoever rotates it restarts nobody; raises CredentialError."""
        path = self.token_file
        if path is None:
            return {}
        try:
            token = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialError(f"the token {path} cannot be read: {error}") from None
        if not _TOKEN.fullmatch(token):
            raise CredentialError(
                f"{path} holds no bearer token; write one line of letters, digits and -._~+/="
            )
        return {"Authorization": f"Bearer {token}"}


def read_remote(env: Mapping[str, str], prefix: str, wanted: str) -> Remote | None:
    """The checked variables `{prefix}_URL`, `{prefix}_TOKEN_FILE` and `{prefix}_CA_FILE`, or None without a URL;
    `wanted` says what to name, with an example. Raises SettingsError."""
    names = [f"{prefix}_{part}" for part in ("URL", "TOKEN_FILE", "CA_FILE")]
    url = env.get(names[0], "")
    token_file, ca_file = (read_optional_path(env, name) for name in names[1:])
    if not url:
        if token_file or ca_file:
            raise SettingsError(
                f"{names[1]} or {names[2]} is set without a server; name it with {names[0]} or unset them."
            )
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password:
        # The text is not repeated: it may hold a password.
        raise SettingsError(f"{names[0]} holds a user or password; use {names[1]} instead.")
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingsError(f"{names[0]} is {url!r}; name {wanted}.")
    if parts.scheme == "http" and (token_file or ca_file):
        raise SettingsError(
            f"{names[0]} begins with http://, which would show the token to everybody on the way and verify "
            f"nobody; write https://, or unset {names[1]} and {names[2]}."
        )
    return Remote(url=url, token_file=token_file, ca_file=ca_file)

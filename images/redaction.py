"""Secrets are struck out of what is logged: the last step before a line is written.

Each image's package has a link to this file, since none holds the package of another.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

STRUCK = "[redacted]"
# What is put before a secret, in any text.
_NAMES = r"passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential"
_NAMED = re.compile(_NAMES, re.IGNORECASE)
_PATTERNS = (
    # A key in PEM, to its end or that of the text.
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        STRUCK,
    ),
    # https://user:password@host, and https://token@host.
    (re.compile(r"(?<=://)[^\s/@\"'<>]{1,500}@"), f"{STRUCK}@"),
    (re.compile(r"\b(bearer|basic)(\s{1,5})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1\2{STRUCK}"),
    # password=…, "token": "…", --password …
    (
        re.compile(
            rf"((?:{_NAMES})s?[\"']?\s{{0,5}}[=:]\s{{0,5}}|--?(?:{_NAMES})\s{{1,5}})"
            r"(\"[^\"]*\"?|'[^']*'?|[^\s\"',;&|)}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{STRUCK}",
    ),
    # curl -u user:password
    (re.compile(r"(\s(?:-u|--user)[\s=]{1,5}[\"']?)[^\s:\"']{1,200}:[^\s\"']+"), rf"\1{STRUCK}"),
    # Tokens that are known by their form: AWS, GitHub, GitLab, Slack, those that begin with sk-, and JSON Web Tokens.
    (
        re.compile(
            r"\b(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}"
            r"|xox[abeprs]-[\w-]{10,}|sk-[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
        ),
        STRUCK,
    ),
)
# A text with none of these has no secret that the patterns find. Most lines have none, and looking is cheap.
_HINTS = (
    "://",
    "private key",
    "bearer",
    "basic",
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "credential",
    "-u",
    "--user",
    "akia",
    "asia",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "sk-",
    "eyj",
)


def struck(text: str) -> str:
    """A text without the secrets that are known by what is around them, or by their form."""
    if _hinted(text):
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
    return text


def _hinted(text: str) -> bool:
    low = text.lower()
    for hint in _HINTS:  # noqa: SIM110 - a generator would take three times as long
        if hint in low:
            return True
    return False


@lru_cache(maxsize=1024)
def _secret(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _NAMED.fullmatch(name.removesuffix("s")) is not None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return struck(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {struck(str(key)): _field(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return struck(bytes(value).decode(errors="replace"))
    return struck(str(value))


def _field(name: str, value: Any) -> Any:
    """What a field may show: nothing if its name is that of a secret and its value could be one."""
    if isinstance(value, str | bytes) and _secret(name):
        return STRUCK
    return _clean(value)


_PLAIN = frozenset({str, int, float, bool, type(None)})


def redact(_logger: Any, _method: str, event: Any) -> Any:
    """Strike secrets out of every field of a log line; a processor of structlog."""
    # Of most lines one look at all texts together is enough.
    texts = [value for value in event.values() if type(value) is str]
    plain = _PLAIN.issuperset(map(type, event.values()))
    if plain and not _hinted("\n".join(texts)) and not any(map(_secret, event)):
        return event
    for name, value in event.items():
        event[name] = _field(name, value)
    return event

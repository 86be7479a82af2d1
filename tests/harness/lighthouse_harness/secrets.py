"""Secrets where they do not belong: in environments, arguments, ConfigMaps, annotations and labels."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .documents import EMPTY, join
from .findings import Finding, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Object, PodTemplate, Render

_KEY_NAMES: Final = re.compile(
    r"(?:^|[^a-z])(?:pass(?:word|wd|phrase)?|secret|token|credentials?|(?:api|access|private|signing|auth|join|"
    r"encryption)[_.-]?key|client[_.-]?secret|dsn)s?(?:$|[^a-z])"
)
_REFERRING: Final = re.compile(
    r"(?:^|[_.-])(?:file|path|dir|folder|name|ref|ttl|seconds|lifetime|type|enabled|url|uri|mode|size|"
    r"secretname|from[_.-]secret|mount|id|policy|count|rotation|duration|version|length|namespace)s?$"
)
_PATTERNS: Final = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a Vault token": re.compile(r"\bhv[sb]\.[A-Za-z0-9_-]{24,}"),
    "a Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    "a password in a URL": re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@$]*:(?!\$|\{|%)[^@/\s$]{3,}@"),
    "a password argument": re.compile(
        r"--?(?:password|passwd|token|secret|api-key|auth-key)[= ](?![$/{])[^\s]{4,}", re.IGNORECASE
    ),
}
_TOKEN: Final = re.compile(r"(?<![A-Za-z0-9+/_=.:-])[A-Za-z0-9+/_-]{20,}={0,2}(?![A-Za-z0-9+/_=.:-])")
_DIGEST: Final = re.compile(r"[0-9a-f]{32,128}|v?\d+(\.\d+)+[\w.+-]*|v?\d+")
_ENTROPY_BITS: Final = 4.0
_SHORTEST_SECRET: Final = 8
_FIX: Final = "put it in a Secret and mount it as a file"
_PLAIN: Final = frozenset({"true", "false", "none", "null", "yes", "no", ""})


@dataclass(frozen=True, slots=True)
class _Text:
    """One string where no secret may be, with the name it goes by."""

    object: Object
    path: str
    name: str
    value: str
    checksum: bool = False
    """An annotation such as `checksum/config`, random by nature."""


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _looks_random(word: str) -> bool:
    """Long, mixed and without the repetition of words; hexadecimal digests and versions are not counted."""
    if _DIGEST.fullmatch(word) or entropy(word) < _ENTROPY_BITS:
        return False
    kinds = (r"[a-z]", r"[A-Z]", r"\d")
    # Names are made of words; in a random text runs of one case are rare and short.
    words = sum(map(len, re.findall(r"[a-z]{7,}|[A-Z]{7,}", word)))
    return all(re.search(kind, word) for kind in kinds) and 3 * words < len(word)


def _texts(item: Object) -> Iterator[_Text]:
    holders = [f"metadata.{name}" for name in ("annotations", "labels")]
    holders += ["data"] if item.kind == "ConfigMap" else []
    holders += [f"{item.pod.path}.metadata.annotations"] if item.pod and item.pod.path else []
    for holder in holders:
        for key, value in (item.at(holder) or EMPTY).items():
            yield _Text(item, join(holder, key), key, str(value), "checksum" in key or "sha256" in key)
    if item.pod is not None:
        yield from _container_texts(item, item.pod)


def _container_texts(item: Object, pod: PodTemplate) -> Iterator[_Text]:
    for container in pod.containers:
        for index, entry in enumerate(container.at("env") or ()):
            if "value" in entry:
                path = f"{container.path}.env[{index}].value"
                yield _Text(item, path, str(entry.get("name")), str(entry["value"]))
        for field in ("args", "command"):
            for index, value in enumerate(container.at(field) or ()):
                yield _Text(item, f"{container.path}.{field}[{index}]", "", str(value))


def _rendered_secrets(render: Render) -> dict[str, str]:
    """Every secret value that the render itself carries, with the Secret and key it belongs to."""
    found = {}
    for item in render.select("Secret", may_be_empty=True):
        for field, decode in (("stringData", str), ("data", _decoded)):
            for key, value in (item.document.get(field) or EMPTY).items():
                text = decode(value).strip()
                # A name is told to others: only with its password it opens anything.
                if len(text) >= _SHORTEST_SECRET and key != "username":
                    found[text] = f"{item.ref} {join(field, key)}"
    return found


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _problem(text: _Text, secrets: dict[str, str]) -> tuple[str, str] | None:
    """The check that the text fails and why; the value itself is never repeated in full."""
    for value, origin in secrets.items():
        if value in text.value:
            return "secret/repeated", f"repeats {origin}"
    for what, pattern in _PATTERNS.items():
        if pattern.search(text.value):
            return "secret/pattern", f"looks like {what}"
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text.name).lower().rpartition("/")[2]
    one_word = text.value.strip() and not re.search(r"\s", text.value.strip())
    if _KEY_NAMES.search(name) and not _REFERRING.search(name) and one_word and _literal(text.value):
        return "secret/name", "is a literal under the name of a secret"
    if not text.checksum and any(_looks_random(word) for word in _TOKEN.findall(text.value)):
        return "secret/entropy", "is as random as a key"
    return None


def _literal(value: str) -> bool:
    """Whether a value is itself something to hide, not a place to find it, a switch or a number."""
    text = value.strip()
    return (
        text.lower() not in _PLAIN
        and not text.startswith(("/", "$", "{"))
        and not re.fullmatch(r"[\d.]+\w{0,2}", text)
    )


def _environment_references(render: Render) -> Iterator[Finding]:
    for item in render.containers():
        ref = item.pod.object.ref
        fix = "mount the Secret as a file: an environment is inherited, dumped and shown by describe"
        for index, entry in enumerate(item.at("env") or ()):
            if (entry.get("valueFrom") or EMPTY).get("secretKeyRef"):
                path = f"{item.path}.env[{index}].valueFrom.secretKeyRef"
                yield Finding("secret/environment", ref, path, entry.get("name"), fix)
        for index, entry in enumerate(item.at("envFrom") or ()):
            if entry.get("secretRef"):
                path = f"{item.path}.envFrom[{index}].secretRef"
                yield Finding("secret/environment", ref, path, entry["secretRef"].get("name"), fix)


def secret_leaks(render: Render, environment: bool = True) -> Verdict:
    """Whether no secret stands where it can be read without the right to read Secrets.

    Looked at: values of environment variables, arguments, ConfigMaps, annotations and labels; by the name
    they go by, known forms of keys, randomness, and whether they repeat a rendered Secret. With
    `environment`, a Secret brought in through the environment is a finding too.
    """
    texts = [text for item in render.objects for text in _texts(item)]
    secrets = _rendered_secrets(render)
    found = []
    for text in texts:
        problem = _problem(text, secrets)
        if problem:
            shown = f"{text.value.strip()[:3]}… ({len(text.value)} characters, {problem[1]})"
            found.append(Finding(problem[0], text.object.ref, text.path, shown, _FIX))
    if environment and render.pods:
        found += _environment_references(render)
    return verdict("secret", texts, found)

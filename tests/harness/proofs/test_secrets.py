"""Random keys are told from names, whatever runs of letters chance makes."""

from __future__ import annotations

import random
import string
from pathlib import Path

from lighthouse_harness.model import Render, Request, make_object
from lighthouse_harness.secrets import secret_leaks

KEYS = 500
NAMES = (
    "lighthouse-agents-security-7Bq",
    "registry.example.com/team/PlatformObservabilityExporter:v1.2.3",
    "NetworkPolicyPeerNamespaceSelector2",
    "https://runbooks.example.com/LighthouseValidationLatencyHigh#Diagnosis1",
)


def found(*texts: str) -> set[str]:
    """Which of the texts are reported as random when they stand in a ConfigMap."""
    data = {f"k{number}": text for number, text in enumerate(texts)}
    config = make_object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
    verdict = secret_leaks(Render(Request(Path("c")), (config,)))
    paths = {finding.path for finding in verdict.findings if finding.check == "secret/entropy"}
    return {text for key, text in data.items() if f"data.{key}" in paths}


def test_nearly_every_random_key_is_found() -> None:
    generator = random.Random(1)  # noqa: S311 - a fixed sample, not a secret
    alphabet = string.ascii_letters + string.digits
    keys = ["".join(generator.choices(alphabet, k=48)) for _ in range(KEYS)]
    assert len(found(*keys)) >= 0.99 * KEYS


def test_names_made_of_words_are_not() -> None:
    assert found(*NAMES) == set()


def test_a_password_that_stands_elsewhere_is_found_and_a_user_name_is_not() -> None:
    content = {"username": "exporter", "password": "correct-horse"}
    secret = make_object(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": content}
    )
    data = {"name": "runs as exporter", "word": "says correct-horse"}
    config = make_object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
    verdict = secret_leaks(Render(Request(Path("c")), (secret, config)))
    assert {f.path for f in verdict.findings if f.check == "secret/repeated"} == {"data.word"}

"""Runbooks: each has commands where somebody needs them, and these name what a release has and the chart takes."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
import pytest

from ci.chart.site import OPERATED, SITE
from ci.monitoring.queries import departures, elsewhere, exposed
from lighthouse_agent.cli.main import cli

from .chart_render import CHART, helm, helms
from .conftest import WHOLE, request_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lighthouse_harness.model import PodTemplate, Render
    from lighthouse_harness.render import Renderer

PAGES = tuple(sorted((CHART.parents[1] / "docs" / "runbooks").glob("*.md")))
SMALL = CHART / "profiles" / "production-small.yaml"
# Namespaces of what a release stands on.
BESIDE = {"cert-manager", "cnpg-system"}
# What CloudNativePG adds to the pods of a cluster, and the containers in them.
OPERATORS_LABEL, OPERATORS_CONTAINERS = "cnpg.io/", {"postgres", "plugin-barman-cloud"}
WORKLOADS = {"deployment": "Deployment", "daemonset": "DaemonSet", "statefulset": "StatefulSet"}
SERVICES = {"lighthouse-postgres-rw"}
# Values of what is not in that render: the volume of SQLite, and rules.
UNSEEN = ("bridge.persistence.", "monitoring.thresholds.")

# The path of a value, as text has it.
PATH = re.compile(r"`((?:bridge|agents|fuse-csi|postgres|redis|monitoring|networkPolicies)\.[\w.-]+)`")


@dataclass(frozen=True)
class Command:
    """A command of a page, in words."""

    page: str
    words: tuple[str, ...]

    def option(self, *names: str) -> str | None:
        """What follows one of these options."""
        for place, word in enumerate(self.words[:-1]):
            if word == "--":
                return None
            if word in names:
                return self.words[place + 1]
        return None

    @property
    def text(self) -> str:
        """The command as a sentence names it."""
        return f"{self.page}: {' '.join(self.words)}"


def section(page: Path, title: str) -> str:
    """A part of a page, without its heading."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def commands() -> Iterator[Command]:
    """Every command of every page."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and not re.fullmatch(r"[A-Z]+=.*", words[0]):
                    yield Command(page.name, tuple(words))


EVERY = tuple(commands())


def of(program: str) -> list[Any]:
    """The commands of one program, as parameters of a test."""
    found = [pytest.param(command, id=command.text) for command in EVERY if command.words[0] == program]
    assert found
    return found


@pytest.fixture(scope="module")
def renders(renderer: Renderer) -> tuple[Render, ...]:
    """A release with all its parts on SQLite, and one with bridges on its own PostgreSQL."""
    alone = replace(request_for("default"), overrides=WHOLE)
    return renderer.render(alone), renderer.render(replace(alone, values=(SMALL, SITE)))


def pods(renders: tuple[Render, ...], namespace: str) -> list[PodTemplate]:
    """All pods of both in a namespace."""
    return [pod for render in renders for pod in render.pods if pod.namespace == namespace]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_diagnosis_and_mitigation_each_have_a_command(page: Path) -> None:
    missing = [
        title for title in ("Diagnosis", "Mitigation") if not re.search(r"```sh\n\S", section(page, title))
    ]
    assert missing == []


def test_every_program_is_known() -> None:
    assert {command.words[0] for command in EVERY} == {"kubectl", "helm", "lighthouse", "cmctl", "make"}


@pytest.mark.parametrize("command", of("kubectl"))
def test_kubectl_is_asked_about_what_a_release_has(command: Command, renders: tuple[Render, ...]) -> None:
    namespace = command.option("-n")
    if namespace is None or "--all-namespaces" in command.words:
        return
    ours = pods(renders, namespace)
    assert ours or namespace in BESIDE
    labels = dict(pair.split("=") for pair in (command.option("-l") or "").split(",") if pair)
    own = {key: value for key, value in labels.items() if not key.startswith(OPERATORS_LABEL)}
    selected = [pod for pod in ours if own.items() <= pod.labels.items()]
    assert selected or namespace in BESIDE, f"no pod has the labels {own}"
    named = named_workload(command)
    if named and namespace not in BESIDE:
        kind, name = named
        selected = [pod for pod in ours if (pod.object.kind, pod.object.name) == (kind, name)]
        assert selected or name in SERVICES, f"there is no {kind} {name}"
    container = command.option("-c")
    operators = labels.keys() - own.keys() or "lighthouse-postgres-" in command.text
    if container:
        have = {each.name for pod in selected for each in pod.containers}
        assert container in (OPERATORS_CONTAINERS if operators or "$POD" in command.words else have)


def named_workload(command: Command) -> tuple[str, str] | None:
    """The kind and name of the workload or Service that a command names."""
    for place, word in enumerate(command.words):
        kind, _, name = word.partition("/")
        if word == "--":
            break
        if kind in WORKLOADS and not name and command.words[1:4:2] != ("-n", "rollout"):
            following = command.words[place + 1 : place + 2]
            name = following[0] if following and not following[0].startswith("-") else ""
        if name and kind in {*WORKLOADS, "service"}:
            return WORKLOADS.get(kind, "Service"), name
    return None


@pytest.mark.parametrize("command", of("kubectl"))
def test_kinds_of_operators_are_not_asked_for_beside_those_that_every_cluster_has(command: Command) -> None:
    """kubectl shows nothing at all when it does not know one of them."""
    for word in command.words:
        kinds = word.split(",")
        if all(re.fullmatch(r"[a-z]+(\.[a-z0-9.-]+)?", kind) for kind in kinds):
            assert len({"." in kind for kind in kinds}) == 1, word


def templated(*words: str) -> str:
    """The small production profile with these words for Helm, without what each render makes anew: keys and such."""
    program = helms()["helm4"]
    assert program
    files = ("--values", SMALL, "--values", SITE)
    apis = [word for api in OPERATED for word in ("--api-versions", api)]
    shared: tuple[str | Path, ...] = (CHART, "--namespace", "lighthouse", "--kube-version", "1.37.0", *apis)
    made = r"^  [\w.-]+: [A-Za-z0-9+/=]{40,}$|checksum/.*$"
    return re.sub(
        made, "", helm(program, "template", "lighthouse", *shared, *files, *words), flags=re.MULTILINE
    )


@pytest.fixture(scope="module")
def unchanged() -> str:
    """That profile as it is."""
    return templated()


@pytest.mark.parametrize("command", of("helm"))
def test_helm_takes_the_values_that_it_is_given(command: Command, unchanged: str) -> None:
    given = [
        word
        for place, option in enumerate(command.words[:-1])
        if option in {"--set", "--set-json"}
        for word in (option, command.words[place + 1])
    ]
    if not given:
        assert command.words[1:3] in {("rollback", "lighthouse"), ("upgrade", "lighthouse")}
        return
    changed = templated(*given)
    if not given[-1].startswith(UNSEEN):
        assert changed != unchanged, "the value changes nothing"


@pytest.mark.parametrize("command", of("lighthouse"))
def test_the_command_line_has_the_commands(command: Command) -> None:
    group: click.Command = cli
    context = click.Context(group)
    for word in command.words[1:]:
        if not isinstance(group, click.Group):
            break
        found = group.get_command(context, word)
        assert found, word
        group = found
    assert not isinstance(group, click.Group)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_queries_ask_for_what_is_exposed(page: Path) -> None:
    known = exposed() | elsewhere()
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    queries = [
        query
        for query in re.findall(r"`([^`]+)`", text)
        if re.search(r"\b(lighthouse|cnpg|redis|process)_", query)
    ]
    wrong = [f"{query}: {said}" for query in queries for said in departures(" ".join(query.split()), known)]
    assert wrong == []


def test_a_value_in_a_page_is_one_of_the_chart(renders: tuple[Render, ...]) -> None:
    wrong = []
    for page in PAGES:
        for path in PATH.findall(page.read_text()):
            at: Any = renders[0].values
            for key in path.split("."):
                at = at.get(key) if hasattr(at, "get") and key in at else None
            if at is None:
                wrong.append(f"{page.stem}: {path}")
    assert wrong == []

"""What `pytest --chart PATH` runs: each gate once, over every render that the options ask for."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from .findings import EmptySelectionError, Finding
from .gates import GATES, Gate, Settings
from .model import Request
from .network_checks import site
from .network_files import read_environment, read_flows
from .network_flows import compare
from .pod_security import Level
from .render import Renderer, RenderError
from .schemas import Catalog, catalog, crds_in, kubernetes_versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from .model import Render
    from .tally import Prover
    from .waivers import Waivers


def _helm_majors(named: list[int] | None) -> list[int]:
    if named:
        return sorted(set(named))
    three = os.environ.get("HELM3") or shutil.which("helm3")
    return [3, 4] if three else [4]


def _requests(config: pytest.Config) -> list[Request]:
    versions = config.getoption("--kubernetes-version") or kubernetes_versions()
    return [
        Request(
            config.getoption("--chart").resolve(),
            tuple(path.resolve() for path in config.getoption("--values")),
            release=config.getoption("--release"),
            namespace=config.getoption("--release-namespace"),
            helm=major,
            kubernetes=version if version.count(".") > 1 else f"{version}.0",
            api_versions=tuple(config.getoption("--api-version")),
        )
        for major in _helm_majors(config.getoption("--helm-major"))
        for version in versions
    ]


@pytest.fixture(scope="session")
def renders(pytestconfig: pytest.Config, renderer: Renderer) -> tuple[Render, ...]:
    """The chart by every Helm major and for every Kubernetes version."""
    try:
        return renderer.prerender(_requests(pytestconfig))
    except RenderError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def settings_for(pytestconfig: pytest.Config) -> Callable[[Render], Settings]:
    """The gates' settings for one render; the schemas are those of its Kubernetes version."""
    named = [entry.partition("=") for entry in pytestconfig.getoption("--pod-security-in")]
    namespaces = tuple((namespace, Level(level)) for namespace, _, level in named)
    crds = [crd for folder in pytestconfig.getoption("--crds") for crd in crds_in(folder)]
    catalogs: dict[str, Catalog] = {}
    around = pytestconfig.getoption("--environment")
    environment = read_environment(around) if around else None

    def chosen(render: Render) -> Settings:
        version = render.request.kubernetes
        if version not in catalogs:
            catalogs[version] = catalog(version).with_crds(crds)
        level = Level(pytestconfig.getoption("--pod-security"))
        digests = pytestconfig.getoption("--require-digests")
        return Settings(level, namespaces, catalogs[version], digests=digests, environment=environment)

    return chosen


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_gate(
    gate: Gate,
    renders: tuple[Render, ...],
    settings_for: Callable[[Render], Settings],
    prove: Prover,
) -> None:
    """One gate over all renders; equal findings are told once, with the renders they are in."""
    _run(gate, renders, settings_for, prove)


def test_flows(
    pytestconfig: pytest.Config,
    renders: tuple[Render, ...],
    settings_for: Callable[[Render], Settings],
    prove: Prover,
) -> None:
    """Exactly the flows of the table named by `--flows` are open."""
    path = pytestconfig.getoption("--flows")
    if path is None:
        pytest.skip("--flows names no table of flows")
    flows = read_flows(path)
    gate = Gate(
        "flows",
        "Is exactly the table of flows open?",
        lambda render, settings: compare(site(render, settings.environment).network, flows),
        optional=True,
    )
    _run(gate, renders, settings_for, prove)


def _run(
    gate: Gate, renders: tuple[Render, ...], settings_for: Callable[[Render], Settings], prove: Prover
) -> None:
    where: dict[Finding, list[str]] = defaultdict(list)
    examined = 0
    for render in renders:
        try:
            verdict = gate.judge(render, settings_for(render))
        except EmptySelectionError as error:
            if gate.optional:
                continue
            pytest.fail(str(error), pytrace=False)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            text = f"The render is too broken for this gate ({error!r}); put right what schema and duplicates say."
            pytest.fail(text, pytrace=False)
        left = prove.waivers.apply(verdict)
        examined += left.examined
        for finding in left.findings:
            where[finding].append(f"helm {render.request.helm} for {render.request.kubernetes}")
    prove.tally.assertions += examined
    prove.tally.verdicts += len(renders)
    result = "nothing to examine" if not examined else f"{examined} examined, {len(where)} finding(s)"
    prove.tally.gates[gate.name] = f"  {gate.name:<20} {gate.question:<60} {result}"
    if not examined:
        pytest.skip(f"the chart renders nothing that {gate.name} looks at")
    if where:
        pytest.fail(_told(where, len(renders)), pytrace=False)


def _told(where: dict[Finding, list[str]], total: int) -> str:
    lines = [f"{len(where)} finding(s) in {total} render(s):"]
    for finding, places in sorted(where.items(), key=lambda item: str(item[0])):
        lines.append(f"  {finding.check}")
        lines.append(f"    where: {finding.object} {finding.path}")
        lines.append(f"    is:    {finding.shown}")
        lines.append(f"    fix:   {finding.fix}")
        if len(places) < total:
            lines.append(f"    only:  {', '.join(places)}")
    return "\n".join(lines)


def test_every_waiver_is_needed(waivers: Waivers, renders: tuple[Render, ...]) -> None:
    """A waiver that excuses nothing hides the next fault of that name; the gates above have used the others."""
    assert renders
    unused = [f"{waiver.check} of {waiver.object}: {waiver.reason}" for waiver in waivers.unused()]
    if unused:
        pytest.fail("Waivers that excuse nothing; remove them:\n  " + "\n  ".join(unused), pytrace=False)

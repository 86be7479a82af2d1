"""The pytest plugin: `pytest --chart PATH` runs every gate on any chart; tests get `renderer` and `prove`.

It stays idle, and imports next to nothing, until one of them is used.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .api_server import ApiServer
    from .render import Renderer
    from .tally import Prover, Tally
    from .waivers import Waivers

_KEY = "lighthouse_harness"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the gates."""
    group = parser.getgroup("chart", "gates for a Helm chart (lighthouse-harness)")
    option = group.addoption
    option("--chart", type=Path, metavar="PATH", help="judge the chart in this folder by every gate")
    option("--release", default="release", help="release name (default: release)")
    option("--release-namespace", default="default", help="namespace of the release (default: default)")
    option("--require-digests", action="store_true", help="images must be pinned by digest")
    option(
        "--waivers", type=Path, metavar="FILE", help="YAML list of accepted findings, each with its reason"
    )
    option("--flows", type=Path, metavar="FILE", help="YAML table of the network flows that may be open")
    around = "YAML file of what lies around the chart in its cluster, for the network's gates"
    option("--environment", type=Path, metavar="FILE", help=around)
    levels = ["restricted", "baseline", "privileged"]
    option(
        "--pod-security", default=levels[0], choices=levels, help="PodSecurity level that every pod must meet"
    )
    majors = "Helm majors to render with (default: those that are there)"
    option("--helm-major", type=int, action="append", choices=[3, 4], help=majors)
    versions = "Kubernetes version to render for (default: all whose schemas are pinned)"
    option("--kubernetes-version", action="append", metavar="1.N", help=versions)
    repeated = {
        ("--values", "FILE"): (Path, "values file; the last one wins"),
        ("--api-version", "GROUP/VERSION/KIND"): (str, "an API that the cluster is said to have"),
        ("--crds", "DIR"): (Path, "folder of CRDs whose schemas are to be known"),
        ("--pod-security-in", "NAMESPACE=LEVEL"): (str, "another PodSecurity level for one namespace"),
    }
    for (name, metavar), (kind, text) in repeated.items():
        option(name, type=kind, action="append", default=[], metavar=metavar, help=f"{text}; may be repeated")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and put the gates among what is collected when a chart is named."""
    config.addinivalue_line("markers", "heavy: takes long; runs in `make test`, not in `make check`")
    if config.getoption("--chart") is None:
        return
    gates = str(Path(__file__).with_name("chart_gates.py"))
    explicit = config.args_source is pytest.Config.ArgsSource.ARGS
    config.args = [*config.args, gates] if explicit else [gates]


def _tally(config: pytest.Config) -> Tally:
    from .tally import Tally  # noqa: PLC0415 - only runs that use the harness pay for it

    found: Tally = config.stash.setdefault(_TALLY, Tally())
    return found


_TALLY: pytest.StashKey[Any] = pytest.StashKey()
_RENDERER: pytest.StashKey[Any] = pytest.StashKey()


@pytest.fixture(scope="session")
def renderer(pytestconfig: pytest.Config) -> Renderer:
    """Renders charts through the cache; one for the whole run."""
    from .render import Renderer  # noqa: PLC0415 - only runs that use the harness pay for it

    found: Renderer = pytestconfig.stash.setdefault(_RENDERER, Renderer())
    return found


@pytest.fixture(scope="session")
def waivers(pytestconfig: pytest.Config) -> Waivers:
    """The accepted findings: none, unless `--waivers` names a file. Override it in a conftest."""
    from .waivers import Waivers, read_waivers  # noqa: PLC0415 - only runs that use the harness pay for it

    path = pytestconfig.getoption("--waivers")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return read_waivers(path, today) if path else Waivers()


@pytest.fixture(scope="session")
def prove(pytestconfig: pytest.Config, waivers: Waivers) -> Prover:
    """Call it with verdicts: it fails with every finding that is not waived, and counts what was examined."""
    from .tally import Prover  # noqa: PLC0415 - only runs that use the harness pay for it

    return Prover(_tally(pytestconfig), waivers)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """A real kube-apiserver for the whole run; tests that ask for it are skipped where it is not built."""
    from .api_server import ApiServer, find_program  # noqa: PLC0415 - only runs that use the harness pay for it
    from .render import ToolError  # noqa: PLC0415 - only runs that use the harness pay for it

    try:
        programs = find_program("etcd"), find_program("kube-apiserver")
    except ToolError as error:
        pytest.skip(str(error))
    with ApiServer(*programs) as server:
        yield server


def _finish(config: pytest.Config) -> Tally | None:
    if _RENDERER not in config.stash and _TALLY not in config.stash:
        return None
    tally = _tally(config)
    if _RENDERER in config.stash:
        from .render import prune  # noqa: PLC0415 - only runs that use the harness pay for it

        used: Renderer = config.stash[_RENDERER]
        tally.count(used.statistics)
        prune(used.folder)
        del config.stash[_RENDERER]
    return tally


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its counts to the controller."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and (tally := _finish(session.config)) is not None:
        output[_KEY] = tally.as_dict()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller takes over a worker's counts."""
    counts = getattr(node, "workeroutput", {}).get(_KEY)
    if counts:
        _tally(node.config).add(counts)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What was proven, on how much."""
    tally = _finish(config)
    if tally is None or not (tally.renders or tally.verdicts):
        return
    terminalreporter.section("charts", sep="-")
    for line in tally.gates.values():
        terminalreporter.write_line(line)
    terminalreporter.write_line(tally.line())

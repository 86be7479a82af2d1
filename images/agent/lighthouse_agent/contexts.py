"""Reads a validation's context package through the project's mount."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lighthouse_agent.answers import WorkItem
from lighthouse_agent.errors import AgentError
from lighthouse_agent.judge import Case, Part

# A package is shown soon after the work arrives, not before.
_PATIENCE_SECONDS = 3.0
_STEP_SECONDS = 0.05
_MAX_BYTES = 4 * 1024 * 1024


class ContextError(AgentError):
    """The context package cannot be read."""


class _Request(msgspec.Struct, frozen=True):
    tool_name: str
    tool_input: dict[str, Any]


class _Context(msgspec.Struct, frozen=True):
    request: _Request
    reason: str
    findings: tuple[Part, ...]


class _Manifest(msgspec.Struct, frozen=True):
    id: str
    agent_id: str
    risk_level: str


class Contexts:
    """`context/` of a mount; `missing` says why the mount does not answer, None when it does."""

    def __init__(self, mount: Path, missing: Callable[[], str | None]) -> None:
        self._folder = mount / "context"
        self._missing = missing

    def read(self, work: WorkItem, agent_type: str) -> Case:
        """The case of a validation; raises ContextError when it cannot be read or is another one's."""
        name = work.validation_id or ""
        if not name.isalnum():
            raise ContextError(f"The validation id {name!r} is no name of a context package.")
        manifest = self._part(name, "manifest", _Manifest)
        context = self._part(name, "context", _Context)
        files = self._part(name, "files", dict[str, Any])
        request = context.request
        if manifest.id != name or (request.tool_name, request.tool_input) != (
            work.tool_name,
            work.tool_input,
        ):
            raise ContextError(f"The context package {name} is of another call.")
        return Case(
            validation_id=name,
            requested_by=manifest.agent_id,
            agent_type=agent_type,
            tool_name=request.tool_name,
            tool_input=request.tool_input,
            reason=context.reason,
            risk_level=manifest.risk_level,
            parts=context.findings,
            files=files,
        )

    def _part(self, name: str, part: str, kind: type[Any]) -> Any:
        path = self._folder / name / f"{part}.json"
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            # Opening a file of a mount that hangs would hang this thread for good.
            problem = self._missing()
            try:
                if problem is None:
                    with path.open("rb") as file:
                        return msgspec.json.decode(file.read(_MAX_BYTES), type=kind)
            except (OSError, msgspec.MsgspecError) as error:
                problem = str(error)
            if time.monotonic() > deadline:
                raise ContextError(f"Context {path} cannot be read ({problem}); check the project's mount.")
            time.sleep(_STEP_SECONDS)

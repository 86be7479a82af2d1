"""From a tool call in JSON to the bridge's verdict: returns when the call may run, raises when it may not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lighthouse_agent.answers import Verdict
from lighthouse_agent.client import BridgeClient
from lighthouse_agent.dialects import EVENTS, UntranslatableError, project_root, translate, within_project
from lighthouse_agent.errors import AgentError, SettingsError, one_line
from lighthouse_agent.settings import DEFAULT_KEY_FILE, BridgeSettings, agent_id, bridge_tls_dir, bridge_url
from lighthouse_agent.tokens import FileTokens, MemoryTokens, private_folder
from lighthouse_agent.tracing import Trace

MAX_INPUT_BYTES = 1024 * 1024


class BadInputError(Exception):
    """The input is no tool call; str() says what is wrong with it."""


class BlockedError(Exception):
    """The call must not run; str() is the reason and what to do instead, `event` what announced the call."""

    def __init__(self, reason: str, event: str = "") -> None:
        super().__init__(reason)
        self.event = event


class ToolCall(msgspec.Struct, frozen=True):
    """What a verdict is asked for."""

    tool_name: str
    tool_input: dict[str, Any]
    agent_id: str


def judge(source: BinaryIO, env: Mapping[str, str], *, timeout: float, trace: Trace | None = None) -> str:
    """Read one call from `source`, ask the bridge, and return the event that announced it when it may run; raises
    BadInputError or BlockedError."""
    event = ""
    try:
        given = _read(source)
        event = _event(given)
        for call in _translated(parse_call(given, env), event, given.get("cwd"), env):
            _obey_bridge(call, env, timeout, trace)
    except BadInputError as error:
        if not event and project_root(env) is None:
            raise
        # Whoever announces events, or sets a project's folder, is a coding CLI: all codes but 2 are consent to it.
        raise BlockedError(
            f"Lighthouse blocked this call because it cannot be read: {error}", event
        ) from None
    except BlockedError as error:
        error.event = event
        raise
    return event


def _translated(call: ToolCall, event: str, cwd: object, env: Mapping[str, str]) -> list[ToolCall]:
    try:
        return [
            ToolCall(tool_name, within_project(tool_name, tool_input, cwd, env), call.agent_id)
            for tool_name, tool_input in translate(event, call.tool_name, call.tool_input)
        ]
    except UntranslatableError as error:
        raise BlockedError(_unfit(str(error), "correct it")) from None


def _event(given: dict[str, Any]) -> str:
    event = given.get("hook_event_name", "")
    if not isinstance(event, str) or event not in {"", *EVENTS}:
        raise BlockedError(
            _unfit(
                f"the event {one_line(str(event))!r} is none before a tool runs",
                f"configure the hook for {' or '.join(sorted(EVENTS))}",
            )
        )
    return event


def _obey_bridge(call: ToolCall, env: Mapping[str, str], timeout: float, trace: Trace | None) -> None:
    try:
        verdict = _ask(call, env, timeout, trace)
    except AgentError as error:
        why = str(error).rstrip(".")
        raise BlockedError(_unfit(f"it could not be judged: {why}", "then try again")) from None
    except UnicodeEncodeError:
        raise BlockedError(_unfit("it holds text that is not valid Unicode", "correct it")) from None
    obey(verdict, call.tool_name)


def _read(source: BinaryIO) -> dict[str, Any]:
    raw = source.read(MAX_INPUT_BYTES + 1)
    if len(raw) > MAX_INPUT_BYTES:
        raise BlockedError(
            _unfit(
                f"it is larger than the {MAX_INPUT_BYTES} bytes the bridge judges",
                "split it into smaller calls",
            )
        )
    call = _parse_json(raw)
    if not isinstance(call, dict):
        raise BadInputError(f"stdin holds a JSON {type(call).__name__}; pass one JSON object.")
    return call


def parse_call(call: Mapping[str, Any], env: Mapping[str, str]) -> ToolCall:
    """The tool call in a JSON object; fields that only its tool needs are ignored.

    agent_id falls back to LIGHTHOUSE_AGENT_ID, since many tools do not send one.
    """
    tool_name, tool_input, given = call.get("tool_name"), call.get("tool_input"), call.get("agent_id")
    if not isinstance(tool_name, str) or not tool_name:
        raise BadInputError("tool_name is missing or not text; pass the tool's name.")
    if not isinstance(tool_input, dict):
        raise BadInputError("tool_input is missing or not an object; pass the tool's input.")
    if given is not None and not isinstance(given, str):
        raise BadInputError("agent_id is not text; pass the agent's id or leave it out.")
    source = "agent_id" if given else "agent_id (and LIGHTHOUSE_AGENT_ID)"
    try:
        agent = agent_id(given or env.get("LIGHTHOUSE_AGENT_ID"), source=source)
    except SettingsError as error:
        raise BadInputError(str(error)) from None
    return ToolCall(tool_name, tool_input, agent)


def obey(verdict: Verdict, tool: str) -> None:
    """Return when the verdict lets the tool run; raises BlockedError otherwise."""
    decision = verdict.metadata.decision
    if verdict.approved and decision == "approved":
        return
    tool, reason = one_line(tool), one_line(verdict.reasoning).rstrip(".") or "no reason given"
    if verdict.approved or decision == "approved":
        raise BlockedError(
            f"Lighthouse blocked {tool} because the verdict contradicts itself (approved {verdict.approved}, "
            f"decision {one_line(decision)!r}); report this fault of the bridge."
        )
    if decision == "blocked":
        raise BlockedError(
            f"Lighthouse blocked {tool}: {reason}; do not repeat it unchanged, take a safer way or ask the "
            "operator."
        )
    number = one_line(verdict.metadata.validation_id or "none")
    raise BlockedError(
        f"Lighthouse holds {tool} for an expert's review (validation {number}): {reason}; do other work and "
        "try again once it is approved, or take a safer way."
    )


def _parse_json(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"stdin is not JSON ({error}); pass one JSON object.") from None
    except RecursionError:
        raise BlockedError(_unfit("it is nested too deeply to be judged", "simplify it")) from None
    except ValueError:
        raise BlockedError(_unfit("it holds a number too long to be judged", "simplify it")) from None


def _ask(call: ToolCall, env: Mapping[str, str], timeout: float, trace: Trace | None) -> Verdict:
    settings = BridgeSettings(
        url=bridge_url(env.get("LIGHTHOUSE_BRIDGE_URL")),
        agent_id=call.agent_id,
        key_file=Path(env.get("LIGHTHOUSE_KEY_FILE") or DEFAULT_KEY_FILE),
        tls_dir=bridge_tls_dir(env),
    )
    folder = private_folder(env)
    tokens = MemoryTokens() if folder is None else FileTokens(folder, settings)
    client = BridgeClient(
        settings, timeout=timeout, tokens=tokens, headers=trace.headers if trace is not None else {}
    )
    return client.validate(call.tool_name, call.tool_input)


def _unfit(why: str, way_out: str) -> str:
    return f"Lighthouse blocked this call because {why}; {way_out}."

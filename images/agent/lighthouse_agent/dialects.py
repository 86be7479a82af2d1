"""What coding CLIs send to a hook, in the names that the bridge's rules know.

Claude Code and Codex name the event PreToolUse and their tools as the rules do; Gemini CLI says BeforeTool and has
names of its own. A tool that is not translated keeps its name: no rule knows it, so it is not approved.
"""

import os.path
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from lighthouse_agent.patches import read_patch

EVENTS = frozenset({"PreToolUse", "BeforeTool"})
# Set by the CLIs for their hooks; the first that is set counts.
PROJECT_VARIABLES = ("LIGHTHOUSE_PROJECT_DIR", "CLAUDE_PROJECT_DIR", "GEMINI_PROJECT_DIR")
_PATHS = ("file_path", "notebook_path", "path")
_FOLDERS = ("directory", "dir_path")
# Where a shell works, as the rules name it; tools that search the folder they are called in.
_SHELL, _CWD = "Bash", "cwd"
_PATCH = "apply_patch"
_SEARCHES = frozenset({"Glob", "Grep"})


class UntranslatableError(ValueError):
    """The call cannot be judged as it is; str() says why."""


class _Tool(msgspec.Struct, frozen=True):
    """The rules' name of a tool, and which of its inputs have another name there."""

    name: str
    inputs: dict[str, str] = {}


_GEMINI = {
    "run_shell_command": _Tool(_SHELL, {"dir_path": _CWD, "directory": _CWD}),
    "read_file": _Tool("Read", {"path": "file_path", "absolute_path": "file_path"}),
    "write_file": _Tool("Write"),
    "replace": _Tool("Edit"),
    "list_directory": _Tool("LS", {"dir_path": "path"}),
    "glob": _Tool("Glob", {"dir_path": "path"}),
    "search_file_content": _Tool("Grep", {"dir_path": "path", "include": "glob"}),
    "grep_search": _Tool("Grep", {"dir_path": "path", "include": "glob"}),
    "google_web_search": _Tool("WebSearch"),
    "write_todos": _Tool("TodoWrite"),
}


def translate(event: str, tool: str, tool_input: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The call in the rules' names, or the calls it consists of, all of which must be allowed. Raises
    UntranslatableError for an input that is named twice or that would be judged and not used."""
    patch = tool_input.get("command")
    if event == "PreToolUse" and tool == _PATCH and isinstance(patch, str):
        return read_patch(patch) or [(tool, tool_input)]
    return [_rename(event, tool, tool_input)]


def _rename(event: str, tool: str, tool_input: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    known = _GEMINI.get(tool) if event == "BeforeTool" else None
    if known is None:
        if event and tool == _SHELL and _CWD in tool_input:
            raise UntranslatableError(f"its input has {_CWD!r}, which its tool does not know")
        return tool, tool_input
    translated: dict[str, Any] = {}
    for name, value in tool_input.items():
        key = known.inputs.get(name, name)
        if key in translated:
            raise UntranslatableError(f"its input names {key!r} twice, as {name!r} too")
        translated[key] = value
    return known.name, translated


def within_project(
    tool: str, tool_input: dict[str, Any], cwd: object, env: Mapping[str, str]
) -> dict[str, Any]:
    """The input with the paths of its project made relative to the project's root, links resolved, and with the
    folder that a shell works in.

    CLIs send absolute paths of this machine, and the bridge knows the project alone. A path that leads out of the
    project, through a link too, stays absolute and is judged so. Raises UntranslatableError when the call is made
    in a folder outside the project: what it names would be other files than those that are judged.
    """
    root = project_root(env)
    if root is None:
        return tool_input
    base = cwd if isinstance(cwd, str) and cwd.startswith("/") else root
    given = tool_input.get(_CWD, "") if tool == _SHELL else ""
    if not isinstance(given, str):
        raise UntranslatableError(f"its {_CWD!r} is no text")
    folders = [tool_input[name] for name in _FOLDERS if isinstance(tool_input.get(name), str)]
    here = ""
    for folder in (*(os.path.join(base, folder) for folder in folders), base, os.path.join(base, given)):  # noqa: PTH118 - texts, as they came
        inside = None if "\0" in folder else _relative(folder, root)
        if inside is None:
            raise UntranslatableError(f"it works in {folder[:200]!r}, outside the project {root!r}")
        here = inside
    changed: dict[str, Any] = {}
    if tool == _SHELL and (here != "." or given):
        changed[_CWD] = here
    elif tool in _SEARCHES and not tool_input.get("path") and here != ".":
        changed["path"] = here
    for name in _PATHS:
        path = tool_input.get(name)
        if isinstance(path, str) and path and "\0" not in path:
            place = os.path.join(base, path)  # noqa: PTH118 - a text, as it came
            changed[name] = _relative(place, root) or os.path.realpath(place)
    return {**tool_input, **changed}


def project_root(env: Mapping[str, str]) -> str | None:
    """The project's folder on this machine, links resolved, if the CLI tells it."""
    for name in PROJECT_VARIABLES:
        if env.get(name, "").startswith("/"):
            return os.path.realpath(env[name])
    return None


def answer(event: str, reason: str | None) -> dict[str, Any]:
    """What the CLI of an event reads on stdout: allowed when there is no reason, else denied."""
    if event == "BeforeTool":
        return {"decision": "allow"} if reason is None else {"decision": "deny", "reason": reason}
    decision = {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow" if reason is None else "deny",
        "permissionDecisionReason": reason or "Lighthouse approved it.",
    }
    return {"hookSpecificOutput": decision}


def _relative(path: str, root: str) -> str | None:
    real = PurePosixPath(os.path.realpath(path))
    return str(real.relative_to(root)) if real.is_relative_to(root) else None

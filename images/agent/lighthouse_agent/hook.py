"""The pre-tool hook's process: an exit code and a sentence on stderr within a time limit, come what may.

Exit codes: 0 the call may run, 2 it may not (the reason is on stderr), 1 stdin holds no tool call.
"""

import json
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

ALLOW, BAD_INPUT, BLOCK = 0, 1, 2

_OUTCOMES = {ALLOW: "allowed", BAD_INPUT: "not a call", BLOCK: "blocked"}

# Callers allow 5 s and may take a hook they had to kill for consent, so the answer comes before that.
LIMIT_SECONDS = 4.5


def main() -> NoReturn:
    """Judge the tool call on stdin and end the process."""
    # A timer thread, since resolving a name can hang where no exception reaches.
    watchdog = threading.Timer(LIMIT_SECONDS, _out_of_time)
    watchdog.daemon = True
    watchdog.start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stopped)
    try:
        # Imported here so that a broken installation and a slow disk end in a block as well.
        from lighthouse_agent import judgement, tracing  # noqa: PLC0415 - imported within the time limit

        code, sentence, event = BLOCK, "", ""
        trace = tracing.begin(os.environ)
        try:
            event = judgement.judge(sys.stdin.buffer, os.environ, timeout=LIMIT_SECONDS, trace=trace)
            code = ALLOW
        except judgement.BadInputError as error:
            code, sentence = BAD_INPUT, f"Lighthouse cannot read the tool call: {error}"
        except judgement.BlockedError as error:
            sentence, event = str(error), error.event
        if event and os.environ.get("LIGHTHOUSE_HOOK_OUTPUT") == "json":
            _print_decision(event, sentence or None)
        # The verdict is there: what is left has a limit of its own and changes nothing about it.
        watchdog.cancel()
        unsent = tracing.end(trace, os.environ, _OUTCOMES[code])
        sentence = sentence or unsent
    except BaseException as error:  # an unforeseen fault must block, not let the call through
        _leave(BLOCK, _unjudged(f"the hook failed with {type(error).__name__}; report this fault"))
    _leave(code, sentence)


def _print_decision(event: str, reason: str | None) -> None:
    """Say on stdout what the CLI reads there; where it reads the exit code alone, that says the same."""
    from lighthouse_agent.dialects import answer  # noqa: PLC0415 - imported within the time limit

    os.write(1, json.dumps(answer(event, reason)).encode())


def _out_of_time() -> None:
    _leave(BLOCK, _unjudged(f"no verdict came within {LIMIT_SECONDS:g} s; check the bridge, then try again"))


def _stopped(number: int, _frame: FrameType | None) -> None:
    _leave(BLOCK, _unjudged(f"signal {number} stopped the hook; let it finish, then try again"))


def _unjudged(why: str) -> str:
    return f"Lighthouse blocked this call because it could not be judged: {why}."


def _leave(code: int, sentence: str) -> NoReturn:
    """End at once: nothing that runs when an interpreter exits may delay or change the verdict."""
    try:
        if sentence:
            os.write(2, f"{sentence}\n".encode("utf-8", "replace"))
    finally:
        os._exit(code)

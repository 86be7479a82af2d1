"""Errors a person can act on: str() is one sentence naming the thing, its value and the way out."""

_MAX_TEXT = 600


class AgentError(Exception):
    """Base of every error this package reports to its user."""


class SettingsError(AgentError):
    """A setting is missing or unusable."""


class KeyFileError(AgentError):
    """The join key cannot be read from its file."""


class SourceError(AgentError):
    """A source tree cannot be read completely."""


class BridgeError(AgentError):
    """The bridge did not do what was asked."""


class BridgeUnreachableError(BridgeError):
    """No whole answer arrived: refused, reset, timed out, cut off."""


class BridgeMalformedError(BridgeError):
    """An answer arrived and is not what the bridge promises."""


class BridgeRefusedError(BridgeError):
    """The bridge answered with an error status."""

    def __init__(self, sentence: str, *, status: int, detail: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.detail = detail


def one_line(text: str, *, hide: tuple[str, ...] = ()) -> str:
    """Foreign text made safe to print: one bounded line, no control characters, nothing of `hide`."""
    for secret in hide:
        if secret:
            text = text.replace(secret, "[hidden]")
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= _MAX_TEXT else words[: _MAX_TEXT - 1] + "…"

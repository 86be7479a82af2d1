"""What a person must know."""


class SettingsError(ValueError):
    """A setting cannot be used; the message is one sentence with the way out."""


class NodeError(Exception):
    """A Redis node cannot be reached, or refused a command."""

"""Errors that end the program with one sentence for the operator."""


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it, its value and what is accepted."""

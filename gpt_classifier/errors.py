"""The one exception that is shown to users as a single line, without a traceback."""


class InputError(ValueError):
    """Something the user gave cannot be used: the message names the value, what was expected and what to do."""

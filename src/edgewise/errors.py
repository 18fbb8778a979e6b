"""The one family of errors that a user can mend."""


class EdgewiseError(Exception):
    """Something the user can mend; the message says what was wrong and what is allowed.

    Attributes
    ----------
    exit_status : of a command that ends with it
    """

    exit_status = 1


class ParameterError(EdgewiseError):
    """A parameter, or a file that a parameter names, is not usable."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name}: was {value!r}; {allowed}")


class NotAtTheEdgeError(EdgewiseError):
    """The run ended before it reached the edge of stability."""


class DivergenceError(EdgewiseError):
    """The loss is no longer finite."""

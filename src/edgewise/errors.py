"""The one family of errors that a user can mend."""

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxlevel = 20, 10, 10, 3
_SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 160, 40, 80


def shown(value: object) -> str:
    """A value as messages show it: its repr, without the middle of what is long.

    >>> shown([3, 5]), shown("x" * 10**6) == f"'{'x' * 77}...{'x' * 78}'"
    ('[3, 5]', True)
    """
    text = _SHORT.repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def in_one_line(text: str) -> str:
    r"""A text in which what cannot be printed, as in a file's name, is escaped.

    >>> print(in_one_line("train/a\nb.png"))
    train/a\nb.png
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def said_by(error: Exception) -> str:
    r"""What an exception of some library says, in one line of at most 300 characters.

    >>> said_by(ValueError("no such\n   thing"))
    'no such thing'
    """
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


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
        super().__init__(in_one_line(f"{name}: was {shown(value)}; {allowed}"))


class NotAtTheEdgeError(EdgewiseError):
    """The run ended before it reached the edge of stability."""


class DivergenceError(EdgewiseError):
    """The loss is no longer finite."""


class NoEigenpairsError(EdgewiseError):
    """The eigenpairs of an operator cannot be found to the residual asked for."""


def in_plain_words(error: EdgewiseError | OSError) -> str:
    """One line that says what was wrong.

    >>> in_plain_words(PermissionError(13, "Permission denied", "plots")), in_plain_words(EdgewiseError("alpha: ..."))
    ('plots: Permission denied', 'alpha: ...')
    """
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return str(error)

"""Experiments side by side, as Markdown tables."""

from collections.abc import Callable, Iterable, Sequence

from pydantic import AliasChoices, BaseModel, Field


class Mean(BaseModel):
    """A mean over seeds and its interval, of errors on the log scale; null where the seeds give none."""

    mean: float | None = Field(validation_alias=AliasChoices("mean", "geometric_mean"))
    low: float | None
    high: float | None

    def shown(self, as_text: Callable[[float], str]) -> str:
        """As a cell: the mean and its interval, each `as_text`.

        >>> one, none = Mean(mean=0.5, low=0.25, high=1.0), Mean(mean=None, low=None, high=None)
        >>> one.shown("{:.2f}".format), one.shown("{:.0%}".format), none.shown(str)
        ('0.50 [0.25, 1.00]', '50% [25, 100]', '')
        """
        if self.mean is None:
            return ""
        if self.low is None or self.high is None:
            return as_text(self.mean)
        ends = (as_text(end).rstrip(" %") for end in (self.low, self.high))
        return f"{as_text(self.mean)} [{', '.join(ends)}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A Markdown table.

    >>> print(table(("name", "of"), [("a", "b|c")]))
    | name | of |
    |---|---|
    | a | b\|c |
    """
    lines = ([cell.replace("|", r"\|") for cell in row] for row in (head, *rows))
    above, *below = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([above, f"|{'---|' * len(head)}", *below])

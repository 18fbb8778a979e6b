"""How long stages take side by side: the order that ends first, and when that is.

A stage is told by its name; `needs` says of each which others it waits for, in an order in which they could run.
"""

import heapq
from collections.abc import Collection, Mapping

Needs = Mapping[str, Collection[str]]


def urgency(needs: Needs, seconds: Mapping[str, float]) -> dict[str, float]:
    """For each stage, the seconds from its start to the end of the longest chain of stages that wait for it.

    The stage of the largest urgency is the one to start first.

    >>> urgency({"a": [], "b": ["a"], "c": ["a"]}, {"a": 1.0, "b": 2.0, "c": 5.0})
    {'c': 5.0, 'b': 2.0, 'a': 6.0}
    """
    after = dict.fromkeys(needs, 0.0)
    longest: dict[str, float] = {}
    for name in reversed(list(needs)):
        longest[name] = seconds[name] + after[name]
        for needed in needs[name]:
            after[needed] = max(after[needed], longest[name])
    return longest


def makespan(needs: Needs, seconds: Mapping[str, float], jobs: int) -> float:
    """Seconds until all stages have run, `jobs` at a time, the most urgent of those that can run first.

    >>> makespan({"a": [], "b": ["a"], "c": ["a"], "d": []}, {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0}, jobs=2)
    6.0
    """
    longest = urgency(needs, seconds)
    waits_for = {name: set(needed) for name, needed in needs.items()}
    ready = [(-longest[name], name) for name, needed in waits_for.items() if not needed]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < jobs:
            _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[name], name))
        now, ended = heapq.heappop(running)
        for name, needed in waits_for.items():
            if ended in needed:
                needed.remove(ended)
                if not needed:
                    heapq.heappush(ready, (-longest[name], name))
    return now

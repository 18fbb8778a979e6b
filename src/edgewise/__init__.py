"""Which parts of the training data gain, and which lose, when gradient descent trains at the edge of stability.

The names that an experiment of one's own needs; each is imported when it is first used. What they are and what to give
them, in a run of a hundred lines: examples/minimal.py.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

#: Where each public name is.
_HOMES = {
    "EigenTracker": "edgewise.dynamics.eigen",
    "GradientDescent": "edgewise.states.optimizers",
    "Objective": "edgewise.network.objective",
    "State": "edgewise.states.optimizers",
    "build_optimizer": "edgewise.states.optimizers",
    "choose_prototypes": "edgewise.data.groups",
    "grouped_data": "edgewise.data.groups",
    "load_dataset": "edgewise.sources",
    "load_run": "edgewise.study.loading",
    "measure": "edgewise.measures.trained",
    "top_eigenpairs": "edgewise.dynamics.eigen",
    "train": "edgewise.dynamics.loop",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgewise' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

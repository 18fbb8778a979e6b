"""Which branches are compared with which."""

#: What a branch is compared with, as (the run at the edge, the run away from it). Each pair starts from one state.
PAIRS = {"exit": ("baseline", "exit"), "flow": ("baseline", "flow"), "enter": ("enter", "exit")}

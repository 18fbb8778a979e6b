"""The state of a run, the optimisers that step it, and how a run is kept on disk."""

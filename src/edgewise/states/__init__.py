"""The state of a run, the optimisers that step it, gradient flow, the branches, and how a run is kept on disk."""

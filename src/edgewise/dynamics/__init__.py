"""The training loop, the edge of stability and its onset, and eigenpairs."""

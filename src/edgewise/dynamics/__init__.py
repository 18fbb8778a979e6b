"""The training loop, the edge of stability and its onset, eigenpairs, and gradient flow."""

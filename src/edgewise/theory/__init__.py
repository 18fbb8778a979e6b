"""Models of gradient descent at the edge of stability, which predict who gains."""

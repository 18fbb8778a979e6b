"""Networks, and the training objective as a function of one flat parameter vector."""

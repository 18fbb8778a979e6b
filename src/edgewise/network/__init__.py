"""Networks, and the training objective as functions of one flat parameter vector."""

"""edgewise: which parts of the training data gain, and which lose, at the edge of stability."""

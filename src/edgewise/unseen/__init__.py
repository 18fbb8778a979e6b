"""Evaluation on examples that are not in the training set: attacked, displaced, corrupted."""

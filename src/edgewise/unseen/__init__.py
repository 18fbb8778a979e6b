"""Data that were not trained on: attacked, displaced, corrupted."""

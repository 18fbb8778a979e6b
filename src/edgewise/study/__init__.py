"""The pipeline run on all cores, and several experiments side by side; knows DVC."""

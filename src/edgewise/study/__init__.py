"""Several experiments side by side; knows DVC."""

"""From the records of the runs to differences between branches, intervals, claims and tables; no tensors."""

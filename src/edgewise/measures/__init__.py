"""What is measured at a state: alignment, influence and coupling, of groups and of single examples."""

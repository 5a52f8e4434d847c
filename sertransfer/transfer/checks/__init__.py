"""What a run's scores are worth: shortcuts, groups, and the population it was trained on."""

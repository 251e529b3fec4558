"""What the experiments on the five tutorials share."""

"""Other tools that check gradients."""

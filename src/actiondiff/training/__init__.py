"""Training of heads on stored features."""

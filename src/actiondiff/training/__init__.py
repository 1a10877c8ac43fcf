"""Training of heads on stored features: the loop, its losses, its batches and its options."""

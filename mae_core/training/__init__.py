"""Training: plan, stream of samples, steps, and the trainer that joins them."""

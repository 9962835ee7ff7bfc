"""Training: plan, stream of samples, steps, and the trainer that joins them. `mae_core.training.run.train` runs a recipe."""

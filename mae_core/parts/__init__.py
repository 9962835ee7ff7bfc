"""The core's own parts: encoder, decoders, positions, targets, tokenizing, optimizers and schedules."""

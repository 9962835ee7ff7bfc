"""Other masked pre-training methods, one folder each."""

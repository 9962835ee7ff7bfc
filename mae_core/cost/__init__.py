"""What a training costs: parameters, FLOPs, memory, hours and money, without running it."""

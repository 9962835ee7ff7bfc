"""What a run leaves behind: its folder, checkpoints, logs, report and pictures."""

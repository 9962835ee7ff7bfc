"""Tasks: what a trainer trains."""

"""I-JEPA (Assran et al. 2023)."""

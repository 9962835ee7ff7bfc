"""SatMAE: groups of spectral bands, and images over time (Cong et al. 2022)."""

"""SatMAE (Cong et al. 2022): images of many spectral bands, in groups, and images of one place at several dates."""

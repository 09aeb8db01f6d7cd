"""Numbers fitted to good images: thresholds, and the ranges of quantized networks."""

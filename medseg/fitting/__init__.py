"""Weights and threshold, chosen on validation samples."""

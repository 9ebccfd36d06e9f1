"""Scores beside baselines, and the reports of them."""

"""Labelled data sets as one list of samples."""

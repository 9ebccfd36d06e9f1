"""Networks, members and ensembles: from an image to a prediction."""

"""Cards: the README.md of members and ensembles for the Hub, and the same in a terminal."""

"""Results as files of formats that other programs read."""

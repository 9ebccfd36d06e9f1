"""Files to images and masks: decoders, the worker processes that they run in, and the limits on both."""

"""The version, for those below `medseg` itself, which loads names of theirs."""

__version__ = "0.2.0"

"""What goes wrong, as the sentence the user sees: what was wanted, what came, what to do next.

Every refusal that medseg makes on purpose derives from `MedsegError`; the page, the command line and the library show
the same words.
"""


class MedsegError(Exception):
    """A refusal in one sentence, fit to be shown to the user as it is."""


class ReadError(MedsegError):
    """A file is not an image or mask that medseg reads."""


class ConfigError(MedsegError):
    """A configuration (member.json, ensemble.json, config.json, a recipe) does not follow its schema."""


class DamagedError(MedsegError):
    """A file's content is not what its manifest promises."""


class InputError(MedsegError):
    """An argument (weights, threshold, masks, a data folder) does not fit what it is used with."""


class HubError(MedsegError):
    """The Hugging Face Hub refuses, or what it holds cannot be used."""


class HubDownError(HubError):
    """The Hub as a whole gives no usable reply, so there is no point in asking it for the next thing."""


class ArchiveError(MedsegError):
    """The DICOM archive refuses, gives no usable reply, or is not named."""


class CancelledError(ArchiveError):
    """The user stopped what the archive was asked for."""


class MedsegWarning(UserWarning):
    """Something was left out or substituted, and the result says so."""

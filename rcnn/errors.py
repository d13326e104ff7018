"""The errors a user can mend. Each message is one line: the file or setting, what is wrong, what to do."""

import re


class RcnnError(Exception):
    """Bad use or bad input; the command line prints the message alone and exits with status 2."""


class ConfigError(RcnnError):
    """A setting that is unknown, out of range or at odds with another."""


class DataError(RcnnError):
    """A picture, an annotation or a data folder that cannot be used as it is."""


class WeightsError(RcnnError):
    """A file of weights, or a run, that cannot be read or fits nothing."""


class TrainingError(Exception):
    """Training that cannot go on, for example a loss that is not finite; exit status 1."""


class DisagreementError(Exception):
    """Ways to do the same work that do not give the same: none of them may be timed."""


def first_line(error: Exception) -> str:
    """What another library's error says, short enough for a message of ours; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def last_line(error: Exception | str) -> str:
    """What an error of ours in another process says: its message, or what was printed, is a whole traceback."""
    return re.sub(r"^rcnn\.[\w.]+Error: ", "", (str(error).strip().splitlines() or ["it said nothing"])[-1])

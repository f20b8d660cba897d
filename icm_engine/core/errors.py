"""Every error this project raises on purpose, in one tree.

    IcmError                     what went wrong, with the value and the remedy
    ├── SettingError             a setting that does not exist or cannot have this value
    ├── ImportRefused            a file that cannot become a data set
    ├── HubError                 the hub cannot be reached, or does not let us
    ├── FetchFailed              a model that cannot be fetched: no index within reach, another file, no room
    ├── NotInstalled             a missing optional package
    ├── ModelError               anything at the model edge
    │   ├── ModelNotUsable       not a causal language model, no such directory, pickled weights
    │   ├── DeviceMissing        a GPU was requested and there is none
    │   ├── LabelNotTokenizable  a label that becomes no token, or two labels that become the same ones
    │   ├── PromptTooLong        a prompt that does not fit the context: never cut
    │   ├── OutOfMemory          the model or its cache does not fit
    │   ├── ScoreNotFinite       NaN or infinity where a log-probability should be
    │   ├── NotApplicable        a form of asking that this model does not have: no chat template
    │   └── ServerUnavailable    a server that does not answer now: a run pauses, and continues when it is back
    └── RunError                 anything about a run as a thing that lasts
        ├── NotFound             no run, data set or example of that name
        ├── RunBusy              another worker holds the run
        └── StoreError           a database that cannot be read or is newer than this program

An error is never turned into a score, a label or a default.
"""


class IcmError(Exception):
    """An error message with what failed, the value, and the remedy, in one sentence."""


class SettingError(IcmError):
    """A setting that does not exist or cannot have this value."""


class NothingToPrefer(SettingError):
    """Responses that are all alike, or labels that prefer none of them to another."""


class ImportRefused(IcmError):
    """A file that cannot become a data set; the message names row and column."""


class HubError(IcmError):
    """The hub cannot be reached, or refuses access."""


class FetchFailed(IcmError):
    """A model that cannot be fetched; nothing of it is kept."""


class NotInstalled(IcmError):
    """A required optional package is not installed; the message says how to install it."""


class ModelError(IcmError):
    """Anything that goes wrong at the model edge."""


class ModelNotUsable(ModelError):
    """A model directory or hub id that is not a causal language model we can load."""


class DeviceMissing(ModelError):
    """A requested device that this machine does not have."""


class LabelNotTokenizable(ModelError):
    """A label without tokens, or two labels with the same tokens."""


class PromptTooLong(ModelError):
    """A prompt that does not fit the model's context; it is never cut."""


class OutOfMemory(ModelError):
    """The model or its key-value cache does not fit into memory."""


class ScoreNotFinite(ModelError):
    """The model returned NaN or infinity where a log-probability should be."""


class NotApplicable(ModelError):
    """A form of prompting that this model does not support, such as a chat without a chat template."""


class ServerUnavailable(ModelError):
    """A server that does not answer, or is no longer the one that was probed; nothing was scored."""


class RunError(IcmError):
    """Anything that goes wrong with a run as a thing that lasts."""


class NotFound(RunError):
    """No run, data set or example of that name."""


class RunBusy(RunError):
    """Another worker holds the run."""


class StoreError(RunError):
    """A database that cannot be read, or was written by a newer version."""

"""What a person may set: sections of ``lowcloud.toml`` and ``LOWCLOUD_<SECTION>__<KEY>`` variables, which win.

Every setting is described in ``docs/settings.md``. A wrong one is refused at the start, by name.
"""

from lowcloud.settings.loading import SettingsError, load
from lowcloud.settings.sections import (
    Gateway,
    Jobs,
    Limits,
    Model,
    Responses,
    Server,
    Settings,
    Storage,
    is_loopback,
    keys,
)

__all__ = [
    "Gateway",
    "Jobs",
    "Limits",
    "Model",
    "Responses",
    "Server",
    "Settings",
    "SettingsError",
    "Storage",
    "is_loopback",
    "keys",
    "load",
]

"""Saved SAEs, transports and networks: JSON beside safetensors, never pickle.

save    an SAE, a transport or a network to a new folder
load    from a folder
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.io.save_load import load, save
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["load", "save"]

"""Folders of SAEs and transports: JSON beside safetensors.

save    an SAE or a transport into a new folder
load    either from its folder
"""

from orbitlens.io.save_load import load, save

__all__ = ["load", "save"]

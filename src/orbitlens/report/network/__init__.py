"""The page of a network: how a group moves the activations of each layer.

write_network_page   the figures of every layer -> one HTML file
"""

from orbitlens.report.network.page import write_network_page

__all__ = ["write_network_page"]

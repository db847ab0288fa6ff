"""The pages of a network: how a group moves the activations of each layer, and which group does.

write_network_page   the figures of every layer under a group -> one HTML file
write_groups_page    the figures of every layer under several groups -> one HTML file
"""

from orbitlens.report.network.groups_page import write_groups_page
from orbitlens.report.network.page import write_network_page

__all__ = ["write_groups_page", "write_network_page"]

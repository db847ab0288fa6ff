"""Pages and pictures of results. Each page is one HTML file that loads nothing.

    draw_attribution     edges between the features of two layers -> a PNG

For the other rooms:

    write_page           metrics, training curves and features -> the page of a run
    write_network_page   the figures of every layer -> the page of a network
    write_groups_page    the same under several groups -> the page of a choice between them
    write_check_page     is a group a symmetry of a network or an environment? -> its page
    feature_cards        codes -> the latents to show, with top images per element
    orbit_feature_cards  the same for the atoms of an orbit SAE, with top images per orientation
    FeatureCard          one latent of an SAE, or one atom
    run_doubts           what is doubtful about the figures of a run, with what to do
    network_doubts       the same for the layers of a network
    layer_doubts, sae_doubts, split_doubts, transport_doubts    the same for one part of a run

They need jinja2, matplotlib and pillow (extra "report"), which are loaded on first use.
"""

from orbitlens.report._doubts import (
    layer_doubts,
    network_doubts,
    run_doubts,
    sae_doubts,
    split_doubts,
    transport_doubts,
)
from orbitlens.report.attribution_graph import draw_attribution
from orbitlens.report.check_page import write_check_page
from orbitlens.report.features import FeatureCard, feature_cards, orbit_feature_cards
from orbitlens.report.network.groups_page import write_groups_page
from orbitlens.report.network.page import write_network_page
from orbitlens.report.page import write_page

__all__ = [
    "FeatureCard",
    "draw_attribution",
    "feature_cards",
    "layer_doubts",
    "network_doubts",
    "orbit_feature_cards",
    "run_doubts",
    "sae_doubts",
    "split_doubts",
    "transport_doubts",
    "write_check_page",
    "write_groups_page",
    "write_network_page",
    "write_page",
]

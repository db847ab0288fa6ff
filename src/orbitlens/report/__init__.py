"""The pages that a run ends with: each one HTML file that loads nothing.

    write_page          metrics, training curves and features -> the page of a run
    write_network_page  the figures of every layer -> the page of a network
    feature_cards       codes -> the latents worth looking at, with top images per element
    orbit_feature_cards the same for the atoms of an orbit SAE, with top images per orientation
    FeatureCard         one latent of one SAE, or one atom

Pages need jinja2, matplotlib and pillow (extra "report"), which are loaded on first use.
"""

from orbitlens.report.features import FeatureCard, feature_cards
from orbitlens.report.network.page import write_network_page
from orbitlens.report.orbit_features import orbit_feature_cards
from orbitlens.report.page import write_page

__all__ = [
    "FeatureCard",
    "feature_cards",
    "orbit_feature_cards",
    "write_network_page",
    "write_page",
]

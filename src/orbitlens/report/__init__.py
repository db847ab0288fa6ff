"""The page that a run ends with: one HTML file that needs no network.

    write_page     metrics, training curves and features -> a page to open
    feature_cards  codes -> the latents worth looking at, with their top images per orientation
    FeatureCard    one latent of one SAE

The page needs jinja2, matplotlib and pillow (extra "report"), which are loaded on first use.
"""

from orbitlens.report.features import FeatureCard, feature_cards
from orbitlens.report.page import write_page

__all__ = ["FeatureCard", "feature_cards", "write_page"]

"""Effects of the features of one layer on those of a later one, up to symmetry.

Site               a layer with the orbit SAE that reads it
attribution_graph  gradient times activation between two sites -> AttributionGraph
AttributionGraph   one number for two atoms and a relative element; Edge, one of the strongest
ablation_effects   the same by setting codes to zero -> AblationEffects
agreement          rank correlation of the two -> Agreement

Correlations need scipy (extra "metrics"), which is loaded on first use.

For the other rooms: reduce_table, from pairs (element, atom) to relative elements -> Reduction.
"""

from orbitlens.attribution._relative import Reduction, reduce_table
from orbitlens.attribution._site import Site
from orbitlens.attribution.ablation import AblationEffects, ablation_effects
from orbitlens.attribution.agreement import Agreement, agreement
from orbitlens.attribution.gradient import attribution_graph
from orbitlens.attribution.graph import AttributionGraph, Edge

__all__ = [
    "AblationEffects",
    "Agreement",
    "AttributionGraph",
    "Edge",
    "Reduction",
    "Site",
    "ablation_effects",
    "agreement",
    "attribution_graph",
    "reduce_table",
]

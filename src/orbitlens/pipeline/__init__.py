"""The main job: images and a group in, an equivariant SAE and a page out.

    RunConfig       the settings of a run
    QUICK           the settings that a quick run makes smaller
    run             all stages, into a run folder
    prepare, Job    a run whose images, action and network are loaded and checked
    load_source     the images of a run -> Source
    NAMES           the SAEs of a run: those of OBJECTIVES, and ORBIT
    build_sae       one of them, untrained
    sae_objective   what it minimises, with its weight
    check_pairs     raises if an orbit SAE has too few pairs (element, atom)
    measure_sae     all figures of one SAE on held-out orbits; measured_samples chooses the orbits
    show            the page of one SAE, for activations of one's own
    top_images      the inputs that activate a feature most, a TopImage for each
    active_features the features that an input activates, an ActiveFeature for each
    check_place     raises if a run cannot be written to a folder
    Console         progress with the time left
    RunFolder       a folder in which a finished stage has its final name
    Tick            the type of functions that take progress

Its modules `stages` (one stage each), `verbs` and `network` (the single verbs of the command line)
are public, too. The room needs the extras "data", "probe" and "report",
and "cli" to show progress.
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.pipeline._job import Job, Source, load_source, prepare
    from orbitlens.pipeline._run import run
    from orbitlens.pipeline._saes import (
        NAMES,
        OBJECTIVES,
        ORBIT,
        build_sae,
        check_pairs,
        sae_objective,
    )
    from orbitlens.pipeline._show import show
    from orbitlens.pipeline._top_images import (
        ActiveFeature,
        TopImage,
        active_features,
        top_images,
    )
    from orbitlens.pipeline.config import QUICK, RunConfig
    from orbitlens.pipeline.console import Console, Tick
    from orbitlens.pipeline.folder import RunFolder, check_place
    from orbitlens.pipeline.measure import measure_sae, measured_samples
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "NAMES",
    "OBJECTIVES",
    "ORBIT",
    "QUICK",
    "ActiveFeature",
    "Console",
    "Job",
    "RunConfig",
    "RunFolder",
    "Source",
    "Tick",
    "TopImage",
    "active_features",
    "build_sae",
    "check_pairs",
    "check_place",
    "load_source",
    "measure_sae",
    "measured_samples",
    "prepare",
    "run",
    "sae_objective",
    "show",
    "top_images",
]

"""The main job: images and a group in, an equivariant SAE and a page out.

    RunConfig   the settings of a run
    QUICK       what a quick run makes smaller
    run         all stages, into a run folder
    prepare     load and check everything that a user can get wrong -> Job
    stages      the stages one by one, for the single verbs of the command line
    Console     progress with the time left
    RunFolder   what is done is there under its final name

It needs the extras "data", "probe" and "report", and "cli" to show progress.
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.pipeline._run import run
    from orbitlens.pipeline.config import QUICK, RunConfig
    from orbitlens.pipeline.console import Console
    from orbitlens.pipeline.folder import RunFolder
    from orbitlens.pipeline.stages import Job, prepare
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "orbitlens.pipeline._run": "run",
            "orbitlens.pipeline.config": "QUICK, RunConfig",
            "orbitlens.pipeline.console": "Console",
            "orbitlens.pipeline.folder": "RunFolder",
            "orbitlens.pipeline.stages": "Job, prepare",
        },
    )

__all__ = ["QUICK", "Console", "Job", "RunConfig", "RunFolder", "prepare", "run"]

"""Time, disk and memory of a run, before it runs. The room serves the command `orbitlens plan`."""

__all__: list[str] = []

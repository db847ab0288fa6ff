"""What a plan says besides figures: what does not fit, and what would change the most."""

import math
from collections.abc import Mapping
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def warnings_of(record: Mapping[str, Any], *, disk: int, memory: int, place: object) -> list[str]:
    """Say what the disk or the machine is too small for.

    Args:
        record: What `plan` returned.
        disk: Free bytes where the store will be.
        memory: Bytes that the machine has for a process.
        place: Where the store will be, for the message.

    Returns:
        One line for each thing that does not fit.
    """
    found = []
    if record["store"]["on_disk"] > disk:
        found.append(
            f"the store needs {size(record['store']['on_disk'])}, and {size(disk)} are free at "
            f"{place}"
        )
    parts = {
        "harvesting": record["harvest"]["memory_bytes"] or 0,
        "the transport": record["transport"]["memory_bytes"],
        **{f"training {n}": each["memory_bytes"] for n, each in record["training"].items()},
    }
    found += [
        f"{name} needs {size(needed)} of memory, and this machine has {size(memory)}"
        for name, needed in parts.items()
        if needed > memory
    ]
    return found


def advice_of(record: Mapping[str, Any], *, epochs: int, memory: int) -> list[str]:
    """Say what would change the most.

    Args:
        record: What `plan` returned.
        epochs: Those that were planned.
        memory: Bytes that the machine has for a process.

    Returns:
        Lines for a reader, each with an option to change.
    """
    return [
        line
        for line in (
            _smaller_numbers(record),
            _more_memory(record, memory),
            _less_images(record),
            _longest(record, epochs),
        )
        if line
    ]


def _smaller_numbers(record: Mapping[str, Any]) -> str:
    store = record["store"]
    if store["bytes_per_number"] < 4:
        return ""
    return (
        f"--dtype float16 or bfloat16 halves the disk: {size(store['on_disk'] / 2)} instead of "
        f"{size(store['on_disk'])}"
    )


def _more_memory(record: Mapping[str, Any], memory: int) -> str:
    streamed = [each for each in record["training"].values() if not each["held"]]
    if not streamed:
        return ""
    needed = min(each["bytes_to_hold"] for each in streamed)
    if needed > memory:
        return f"holding all activations would take {size(needed)}, more than this machine has"
    reading = streamed[0]["reading_seconds_per_epoch"]
    return (
        f"--memory-gib {math.ceil(needed / 2**30)} keeps all activations in memory and saves "
        f"{duration(reading)} of reading in every epoch"
    )


def _less_images(record: Mapping[str, Any]) -> str:
    harvest = record["harvest"]
    if not harvest["memory_bytes"] or harvest["input_bytes"] < harvest["memory_bytes"] / 2:
        return ""
    return (
        f"inputs take {size(harvest['input_bytes'])} of the memory of harvesting, which keeps them "
        "all: a smaller --image-size, or several harvests"
    )


def _longest(record: Mapping[str, Any], epochs: int) -> str:
    """Name the longest part of a harvest, the transport of an orbit SAE, and one of each SAE."""
    training = sum(each["seconds"] for each in record["training"].values())
    passes = record["harvest"]["forward_seconds"] or 0.0
    whole = sum(
        [
            training,
            record["harvest"]["seconds"] or record["harvest"]["writing_seconds"],
            *record["transport"]["seconds"].values(),
        ]
    )
    if passes > whole / 2:
        return (
            f"forward passes are {passes / whole:.0%} of the time: a smaller --group, or fewer "
            "--n-samples"
        )
    if training > whole / 2 and epochs > 1:
        return (
            f"training is {training / whole:.0%} of the time: --epochs {epochs // 2} takes "
            f"{duration(training * (epochs // 2) / epochs)} instead of {duration(training)}"
        )
    return ""


def size(count: float | int) -> str:
    """Return bytes for a reader.

    Example:
        >>> size(24_600_000_000), size(12)
        ('24.6 GB', '12 B')
    """
    power = min(len(_UNITS) - 1, int(math.log10(count)) // 3) if count >= 1 else 0
    value = count / 1000**power
    return f"{value:.{1 if value < 100 and power else 0}f} {_UNITS[power]}"


def duration(seconds: float | int | None) -> str:
    """Return a time for a reader.

    Example:
        >>> duration(0.0123), duration(75), duration(7200), duration(None)
        ('12.3 ms', '75 s', '2.0 h', 'unknown')
    """
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    for least, unit, name in ((172_800, 86_400, "d"), (7200, 3600, "h"), (120, 60, "min")):
        if seconds >= least:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.3g} s"

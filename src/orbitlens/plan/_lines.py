"""A plan in lines for a reader, with warnings and advice."""

import math
from typing import Any


def find_warnings(record: dict[str, Any], place: object) -> list[str]:
    """Return a line for each thing that the disk or the machine is too small for."""
    needed, free, memory = record["store"]["on_disk"], record["free_disk"], record["machine_memory"]
    parts = {"harvesting": record["harvest"], "the transport": record["transport"]}
    parts |= {f"training {name}": each for name, each in record["training"].items()}
    found = [f"the store needs {size(needed)}, and {size(free)} are free at {place}"]
    return found[needed <= free :] + [
        f"{name} needs {size(taken)} of memory, and this machine has {size(memory)}"
        for name, each in parts.items()
        if (taken := each["memory_bytes"] or 0) > memory
    ]


def find_advice(record: dict[str, Any]) -> list[str]:
    """Return lines that each name an option to change, and what it would save."""
    store, harvest, epochs = record["store"], record["harvest"], record["epochs"]
    training = sum(each["seconds"] or 0.0 for each in record["training"].values())
    transports = sum(each or 0.0 for each in record["transport"]["seconds"].values())
    passes, inputs = harvest["forward_seconds"] or 0.0, harvest["input_bytes"] or 0
    whole = training + transports + (harvest["seconds"] or harvest["writing_seconds"])
    streamed = [each for each in record["training"].values() if not each["held"]]
    needed = min((each["bytes_to_hold"] for each in streamed), default=0)
    reading = max((each["reading_seconds_per_epoch"] for each in streamed), default=0.0)
    fits, fewer = needed <= record["machine_memory"], training * (epochs // 2) / epochs
    lines = {
        f"--dtype float16 or bfloat16 halves the disk: {size(store['on_disk'] / 2)} instead of "
        f"{size(store['on_disk'])}": store["bytes_per_number"] == 4,
        f"--memory-gib {math.ceil(needed / 2**30)} keeps all activations in memory and saves "
        f"{duration(reading)} of reading in every epoch": streamed and fits,
        f"holding all activations would take {size(needed)}, more than this machine has": not fits,
        f"inputs take {size(inputs)} of the memory of harvesting, which keeps them all: take a "
        "smaller --image-size, or harvest in parts": inputs > (harvest["memory_bytes"] or 0) / 2,
        f"forward passes are {passes / whole:.0%} of the time: take a smaller --group, or fewer "
        "--n-samples": passes > whole / 2,
        f"training is {training / whole:.0%} of the time: --epochs {epochs // 2} takes "
        f"{duration(fewer)} instead of {duration(training)}": training > whole / 2 and epochs > 1,
    }
    return [line for line, applies in lines.items() if applies]


def plan_lines(record: dict[str, Any]) -> list[str]:
    """Return the record in lines, one or two for each part of the run."""
    store, harvest, transport = record["store"], record["harvest"], record["transport"]
    methods = ", ".join(f"{name} {duration(each)}" for name, each in transport["seconds"].items())
    parts = ("loading", "forward", "writing")
    times = ", ".join(f"{part} {duration(harvest[f'{part}_seconds'])}" for part in parts)
    lines = [
        f"{record['inputs']:,} inputs under {record['group']} ({record['order']} elements), "
        f"positions {record['positions']:,}, width {record['dim']}",
        f"store: {size(store['on_disk'])} on disk ({record['dtype']}, not compressed), shards "
        f"{store['shards']:,}, samples in each {store['shard_samples']:,}",
        f"harvest: {duration(harvest['seconds'])} ({times}), "
        f"workers {record['workers']}, memory {size(harvest['memory_bytes'])} "
        f"(inputs: {size(harvest['input_bytes'])})",
        f"transport: {methods}, memory {size(transport['memory_bytes'])}{_why(transport)}",
    ]
    for name, each in record["training"].items():
        title = "orbit SAE" if name == "orbit" else "SAE, vanilla or equivariant"
        held = "kept in memory" if each["held"] else "read in every epoch"
        kept, rest = (size(value) for value in each["memory"].values())
        lines += [
            f"{title}: {duration(each['seconds'])}, up to "
            f"{duration(each['seconds_with_dead_latents'])} while latents are dead; "
            f"{each['steps']:,} steps of {duration(each['seconds_per_step'])}{_why(each)}",
            f"  memory {size(each['memory_bytes'])}: activations {kept} ({held}), the rest {rest}",
        ]
    lines += [f"what would change the most: {line}" for line in record["advice"]]
    return lines + [f"warning: {line}" for line in record["warnings"]]


def _why(part: dict[str, Any]) -> str:
    return f"; not measured: {part['not_measured']}" if part["not_measured"] else ""


def size(count: float | int | None) -> str:
    """Return bytes for a reader, as "24.6 GB"."""
    if count is None:
        return "unknown"
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = min(len(units) - 1, int(math.log10(max(1, count))) // 3)
    value = count / 1000**power
    return f"{value:.{1 if value < 100 and power else 0}f} {units[power]}"


def duration(seconds: float | int | None) -> str:
    """Return a time for a reader, as "75 s" or "2.0 h"."""
    if seconds is None:
        return "unknown"
    for least, unit, name in ((172_800, 86_400, "d"), (7200, 3600, "h"), (120, 60, "min")):
        if seconds >= least:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"

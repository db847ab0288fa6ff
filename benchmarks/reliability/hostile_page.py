"""Pages of hostile records in Chromium: no script of theirs runs.

Every text of metrics.json, every name of a class, an element, a layer and an SAE holds HTML that
would change the title of the page. Two controls show that the title would change without the
escaping and without the policy of the page, and that the policy alone holds, too.

    python benchmarks/reliability/hostile_page.py          # needs chromium; exits 1 on a fault
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from outcomes import show
from PIL import Image

from orbitlens.pipeline import Console, RunConfig, run, verbs
from orbitlens.report import write_network_page

RAN = "document.title='RAN'"
PAYLOADS = (
    f"<script>{RAN}</script>",
    f"</title></style></script><script>{RAN}</script>",
    f"<img src=x onerror={RAN}>",
    f'"><svg onload={RAN}>',
    f"' onmouseover='{RAN}' autofocus onfocus='{RAN}",
    f'<iframe srcdoc="<script>parent.{RAN}</script>"></iframe>',
    f'<a href="javascript:{RAN}">x</a>',
    "<style>*{display:none}</style><meta http-equiv=refresh content=0;url=//example.org>",
    f"]]>--><script>{RAN}</script><!--",
    "{{ 7 * 7 }}{% raw %}${7*7}\x00\x1b[2J\u202e\u2028",
)
LAYER = {"r2": 0.9, "r2_low": 0.8, "r2_high": 0.95, "spectrum": [0.5, 0.5], "rank": 3, "dim": 4}


def hostile(value: Any, payload: str, known: frozenset[str]) -> Any:
    """Put a payload into every text of a record, and into every name that may be any."""
    if isinstance(value, dict):
        spoiled = {key: hostile(entry, payload, known) for key, entry in value.items()}
        return spoiled | {f"{key}{payload}": entry for key, entry in spoiled.items()}
    if isinstance(value, list):
        return [hostile(entry, payload, known) for entry in value]
    return value + payload if isinstance(value, str) and value not in known else value


def title_in_chromium(page: Path) -> tuple[str, str]:
    """Return the title of a page after its scripts ran, and what the browser complained about."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("chromium: expected to be installed; install it and try again")
    with tempfile.TemporaryDirectory() as profile:
        words = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
            *("--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"),
        ]
        done = subprocess.run(
            [browser, *words, page.as_uri()],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=240,
            check=False,
        )
    found = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    told = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return (found[1] if found else "no title"), "\n".join(told)


def runs_nothing(page: Path) -> bool:
    """Say whether the title is the page's own, and the browser had nothing to refuse."""
    title, told = title_in_chromium(page)
    if title in ("RAN", "no title") or told:
        print(page, title, told, file=sys.stderr)
    return title not in ("RAN", "no title") and not told


def finished_run(folder: Path) -> Path:
    """Make a small run of images whose classes have hostile names."""
    random = np.random.default_rng(0)
    for name in (f"<img src=x onerror={RAN}>", f'"><svg onload={RAN}>'):
        place = folder / "images" / name
        place.mkdir(parents=True)
        for i in range(30):
            pixels = (random.random((16, 16)) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")
    settings = {"image_size": 16, "model_epochs": 1, "d_sae": 8, "k": 2, "hidden": 0, "epochs": 2}
    config = RunConfig.for_source(str(folder / "images"), features=2, **settings)
    run(config, folder / "run")
    return folder / "run"


def of_run(out: Path, plain: dict[str, Any], payload: str) -> bool:
    """Spoil the record and the settings of a run, and draw its page again."""
    names = {*plain["saes"], "completed", "logistic"}
    record = {
        key: hostile(value, payload, frozenset(names)) if key != "saes" else value
        for key, value in plain.items()
    }
    saes = hostile(plain["saes"], payload, frozenset(names))
    record["saes"] = {**saes, f"mine{payload}": next(iter(saes.values()))}
    record["warnings"] = record["notes"] = [payload]
    # Figures of other settings than those of the folder are refused, so both are spoiled alike.
    config = {**plain["config"], "model": f"python:{payload}:build", "layer": payload}
    record["config"] = {**config, payload: payload}
    (out / "metrics.json").write_text(json.dumps(record))
    (out / "config.json").write_text(json.dumps(config))
    verbs.report(out, console=Console(quiet=True))
    return runs_nothing(out / "report" / "index.html")


def of_network(folder: Path, payload: str) -> bool:
    """Draw the page of a network with hostile names."""
    record = {
        "model": {"name": payload},
        "inputs": {"name": payload, "n": 100, "held_out": 20, "passed_over": [payload]},
        "group": {
            "name": payload,
            "elements": [payload],
            "irreps": [{"name": n, "label": payload, "dim": 1} for n in ("trivial", payload)],
        },
        "action": {payload: payload},
        "layers": [{"layer": payload, "kind": payload, "verdict": v, **LAYER} for v in "ab"],
        "skipped": {payload: payload},
        "config": {payload: payload},
        "seconds": {payload: 1.0},
        "warnings": [payload],
    }
    return runs_nothing(write_network_page(folder / "network.html", record))


def control(page: Path, *, policy: bool) -> bool:
    """Put a script into a page: it runs without the policy, and does not run under it."""
    html = page.read_text(encoding="utf-8")
    if not policy:
        html = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    changed = page.with_name(f"control-{policy}.html")
    changed.write_text(html.replace("</body>", f"<script>{RAN}</script></body>"), encoding="utf-8")
    title, _ = title_in_chromium(changed)
    return (title == "RAN") != policy


def instances(folder: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Give the name and the function of every instance."""
    out = finished_run(folder)
    plain = json.loads((out / "metrics.json").read_text())
    plain.pop("checksum", None)
    verbs.report(out, console=Console(quiet=True))
    page = out / "report" / "plain.html"
    shutil.copy(out / "report" / "index.html", page)
    yield "a page with hostile names of classes", partial(runs_nothing, page)
    yield "control: an added script without the policy runs", partial(control, page, policy=False)
    yield "control: an added script under the policy does not", partial(control, page, policy=True)
    for payload in PAYLOADS:
        shown = f"`{payload[:40]!a}`"
        yield f"run, {shown}", partial(of_run, out, plain, payload)
        yield f"network, {shown}", partial(of_network, folder, payload)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        show("Pages of hostile records, in Chromium", dict(instances(Path(scratch))))

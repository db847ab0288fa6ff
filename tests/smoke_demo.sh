#!/bin/sh
# The demo at its smallest size, as a user runs it: real images in, a page out.
set -eu
orbitlens=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$orbitlens" run digits --out "$folder/run" --n-samples 200 --model-epochs 3 --epochs 10 \
    --d-sae 32 --json >"$folder/record.json"
test -s "$folder/run/report/index.html"
grep -q '"r2"' "$folder/record.json"
"$(dirname "$orbitlens")/python" - "$folder/run/metrics.json" "$folder/record.json" <<'END'
import json
import sys

kept, printed = (json.load(open(path)) for path in sys.argv[1:])
assert kept.pop("checksum") and kept == printed, "metrics.json is not what --json printed"
END
echo "demo: passed"

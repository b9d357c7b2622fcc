#!/bin/sh
# Builds a collector with the file exporter of the contrib distribution, and has it write written.jsonl again: spans, log
# events and metrics of program.py. By hand, as it takes Go, and minutes: sh tests/collector/record.sh .venv/bin/python
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=$(command -v "$1")
scratch=$(mktemp -d)
cp "$here"/../../deploy/native/collector/go.* "$here/main.go" "$here/config.yaml" "$scratch"
cd "$scratch"
go get github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter@v0.159.0
go mod tidy
go build -o recorder .
./recorder --config config.yaml &
recorder=$!
sleep 3
cd "$here"
OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14318 "$python" - < program.py  # So that stack traces have no folder in them.
kill "$recorder"
wait "$recorder" || true
cp "$scratch/written.jsonl" .

#!/bin/sh
# What Keruta's own init pod does today, one thing after the other.
# usage: sequential.sh CLONE_URL SCRIPT_URL DOCUMENT_URL WORK_DIR
# BENCHMARK_PHASES, where it is set, names a file that is told when each phase ended (GNU date).
set -eu

ended() {
    [ -z "${BENCHMARK_PHASES:-}" ] || echo "$1 $(date +%s.%N)" >>"$BENCHMARK_PHASES"
}

ended begin
git clone --depth 1 --single-branch "$1" "$4"
ended clone
cd "$4"
echo /.keruta >>.git/info/exclude
mkdir -p .keruta
ended exclude
curl -sfL -o .keruta/install.sh "$2" || true
ended script
if [ -s .keruta/install.sh ]; then
    chmod +x .keruta/install.sh
    .keruta/install.sh
fi
ended install
curl -sfL -o .keruta/README.md "$3"
ended documents

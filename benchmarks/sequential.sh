#!/bin/sh
# What Keruta's own init pod does today, one thing after the other.
# usage: sequential.sh CLONE_URL SCRIPT_URL DOCUMENT_URL WORK_DIR
# BENCHMARK_PHASES, where it is set, names a file that is told when each phase begins and ends (GNU date).
set -eu

begin() { [ -z "${BENCHMARK_PHASES:-}" ] || echo "$1 begin $(date +%s.%N)" >>"$BENCHMARK_PHASES"; }
end() { [ -z "${BENCHMARK_PHASES:-}" ] || echo "$1 end $(date +%s.%N)" >>"$BENCHMARK_PHASES"; }

begin clone
git clone --depth 1 --single-branch "$1" "$4"
end clone
cd "$4"
echo /.keruta >>.git/info/exclude
mkdir -p .keruta
begin script
curl -sfL -o .keruta/install.sh "$2" || true
end script
if [ -s .keruta/install.sh ]; then
    chmod +x .keruta/install.sh
    begin install
    .keruta/install.sh
    end install
fi
begin documents
curl -sfL -o .keruta/README.md "$3"
end documents

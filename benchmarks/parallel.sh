#!/bin/sh
# The same with & and wait: the strongest simple rival. It fails where any part failed, and installs only after the
# clone and the script; it retries nothing, checks no length, and leaves half of it behind where it is killed.
# usage: parallel.sh CLONE_URL SCRIPT_URL DOCUMENT_URL WORK_DIR
# BENCHMARK_PHASES, where it is set, names a file that is told when each phase begins and ends (GNU date).
set -eu

begin() { [ -z "${BENCHMARK_PHASES:-}" ] || echo "$1 begin $(date +%s.%N)" >>"$BENCHMARK_PHASES"; }
end() { [ -z "${BENCHMARK_PHASES:-}" ] || echo "$1 end $(date +%s.%N)" >>"$BENCHMARK_PHASES"; }

parts=$(mktemp -d "$4.XXXXXX") # beside the work directory, which git wants empty
{ begin clone && git clone --depth 1 --single-branch "$1" "$4" && end clone; } &
clone=$!
{ begin script && curl -sfL -o "$parts/install.sh" "$2" && end script; } &
script=$!
{ begin documents && curl -sfL -o "$parts/README.md" "$3" && end documents; } &
document=$!

wait "$clone"
cd "$4"
echo /.keruta >>.git/info/exclude
mkdir -p .keruta
wait "$script"
if [ -s "$parts/install.sh" ]; then
    chmod +x "$parts/install.sh"
    mv "$parts/install.sh" .keruta/install.sh
    begin install
    .keruta/install.sh
    end install
fi
wait "$document"
mv "$parts/README.md" .keruta/README.md
rm -rf "$parts"

#!/bin/sh
# Polls by wrk through Ringbolt, nginx and HAProxy in turn: on connections that stay open, and each on a new one.
#
#   bench/scripts/wrk.sh [SECONDS [CONNECTIONS]]
#
# Started by hand it has `cargo xtask bench with` start the proxies, which then runs it once for each of them.
set -eu
export LC_ALL=C

if [ -z "${ADDRESS:-}" ]; then
    command -v wrk >/dev/null || { echo "wrk is not installed; on Debian: apt-get install wrk" >&2; exit 1; }
    cd "$(dirname "$0")/../.."
    exec cargo xtask bench with -- sh bench/scripts/wrk.sh "$@"
fi

seconds=${1:-5}
connections=${2:-64}
url="http://$ADDRESS/socket.io/?EIO=4&transport=polling&sid=$SID"

# Processor time of all threads of the proxy in nanoseconds.
cpu() {
    for pid in $PIDS; do cat "/proc/$pid"/task/*/schedstat; done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# measure TITLE [HEADER]
measure() {
    echo "-- $1, $connections connections"
    before=$(cpu)
    report=$(wrk -t1 -c"$connections" -d"${seconds}s" --latency ${2:+-H "$2"} "$url")
    after=$(cpu)
    echo "$report" | grep -E '50%|99%|requests in|Requests/sec|errors|Non-2xx'
    echo "$report" | awk -v cpu="$((after - before))" \
        '/requests in/ { printf "  CPU us per request: %.1f\n", cpu / 1000 / $1 }'
    case $report in *errors:* | *Non-2xx*) echo "$NAME: not all requests were answered" >&2; exit 1 ;; esac
}

measure "keep-alive GET"
measure "GET on a new connection" "Connection: close"

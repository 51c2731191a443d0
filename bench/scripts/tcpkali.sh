#!/bin/sh
# WebSocket messages by tcpkali through Ringbolt, nginx and HAProxy in turn, at a fixed rate, with their latency.
#
#   bench/scripts/tcpkali.sh [SECONDS [CONNECTIONS [MESSAGES_PER_SECOND]]]
#
# Written for tcpkali 1.1.1. Started by hand it has `cargo xtask bench with` start the proxies, which then runs it
# once for each of them.
set -eu
export LC_ALL=C

if [ -z "${ADDRESS:-}" ]; then
    command -v tcpkali >/dev/null || { echo "tcpkali is not on PATH; bench/README.md says where it is" >&2; exit 1; }
    cd "$(dirname "$0")/../.."
    exec cargo xtask bench with -- sh bench/scripts/tcpkali.sh "$@"
fi

seconds=${1:-10}
connections=${2:-200}
rate=${3:-10000}

# Processor time of all threads of the proxy in nanoseconds.
cpu() {
    for pid in $PIDS; do cat "/proc/$pid"/task/*/schedstat; done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

for bytes in 64 1024; do
    echo "-- messages of $bytes bytes, $connections tunnels, $rate a second"
    # The marker is looked for in what comes back; the rest fills the message up.
    message=$(printf 'MARK%*s' $((bytes - 4)) '' | tr ' ' x)
    before=$(cpu)
    tcpkali --websocket --workers 1 --connections "$connections" --connect-rate 1000 --duration "${seconds}s" \
        --nagle off --write-combine off --message "$message" \
        --message-rate "$(awk -v rate="$rate" -v of="$connections" 'BEGIN { print rate / of }')" \
        --latency-marker MARK --latency-percentiles 50,99,99.9 \
        "$ADDRESS/socket.io/?EIO=4&transport=websocket"
    after=$(cpu)
    echo "$((after - before))" | awk '{ printf "  CPU ms of the proxy: %.0f\n", $1 / 1e6 }'
done

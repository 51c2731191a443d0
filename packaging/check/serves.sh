#!/bin/sh
# In a guest, which has busybox: the program $1 tells its version and passes a request on, and drains when it is stopped.
set -eu

"$1" version
mkdir -p /tmp/backend
echo served >/tmp/backend/said
httpd -p 127.0.0.1:3000 -h /tmp/backend
"$1" run --listen 127.0.0.1:8080 --backend 127.0.0.1:3000 --admin off &
daemon=$!
tries=0
until said=$(wget -q -O - http://127.0.0.1:8080/said 2>/dev/null); do
    tries=$((tries + 1))
    [ $tries -lt 300 ]
    sleep 0.1
done
[ "$said" = served ]
kill -TERM $daemon
wait $daemon
echo "ok: it serves, and drains when it is stopped"

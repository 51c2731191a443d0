#!/bin/sh
# Installs the package $2 in the Debian system in the folder $1, upgrades it to $3 while tunnels are open, reloads,
# removes and purges it. Takes root. Exit status 0 if everything was as it should be.
set -eu

here=$(dirname "$(readlink -f "$0")")
root=$1 old=$2 new=$3
folder=$(mktemp -d)
mkfifo "$folder/to" "$folder/from"
init=
outer=
tunnels=

finish() {
    [ -z "$tunnels" ] || kill "$tunnels" 2>/dev/null || true
    # The end of the first process of a process namespace is that of all in it.
    [ -z "$init" ] || kill -KILL "$init" 2>/dev/null || true
    [ -z "$outer" ] || kill -KILL "$outer" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM

fail() {
    echo "FAILED: $*" >&2
    inside journalctl --no-pager -n 40 -u ringbolt >&2 || true
    exit 1
}

inside() {
    nsenter --target "$init" --mount --pid --net --uts --ipc --root --wdns=/ -- "$@"
}

# Until the command succeeds, for half a minute.
await() {
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "this never came true: $*"
}

expect() {
    what=$1 wanted=$2
    shift 2
    got=$(inside "$@" 2>&1) || true
    [ "$got" = "$wanted" ] || fail "$what: $got, not $wanted"
    echo "ok: $what: $wanted"
}

tell() {
    echo >&3
    read -r said <&4
    case $said in
        alive*) echo "ok: $1: $said" ;;
        *) fail "$1: $said" ;;
    esac
}

install() {
    inside env DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i "/var/packages/$(basename "$1")" >"$folder/log" 2>&1 ||
        fail "dpkg -i $1: $(cat "$folder/log")"
}

# A GET of $1 is answered.
request() {
    inside bash -c "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET $1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' >&3 && cat <&3" \
        >"$folder/log" 2>&1 || fail "a request of $1: $(cat "$folder/log")"
    grep -q '^HTTP/1.1 ' "$folder/log" || fail "a request of $1: $(cat "$folder/log")"
}

main_pid() {
    inside systemctl show --property MainPID --value ringbolt
}

unshare --fork --mount --pid --net --uts --ipc --cgroup --kill-child sh "$here/boot.sh" "$root" "$old" "$new" </dev/null &
outer=$!
await grep -q . "/proc/$outer/task/$outer/children"
init=$(tr -d ' ' <"/proc/$outer/task/$outer/children")
await inside systemctl --quiet is-active sysinit.target dbus.socket

install "$old"
expect "the service runs" active systemctl is-active ringbolt
expect "it starts with the machine" enabled systemctl is-enabled ringbolt
expect "its unit is sound" "" systemd-analyze verify --man=no ringbolt.service
expect "it is a user of its own" ringbolt ps -o user= -p "$(main_pid)"
expect "nobody logs in as that user" /usr/sbin/nologin sh -c "getent passwd ringbolt | cut -d : -f 7"
expect "bash completes it" "_ringbolt ringbolt" \
    bash -c ". /usr/share/bash-completion/completions/ringbolt && complete -p ringbolt | grep -o '_ringbolt ringbolt'"
expect "the configuration is dpkg's" " /etc/ringbolt/ringbolt.toml" \
    sh -c "dpkg-query -W -f '\${Conffiles}' ringbolt | sed 's/ [0-9a-f]*$//' | tr -d '\n'"
inside ringbolt status >"$folder/log" || fail "ringbolt status: $(cat "$folder/log")"
grep -q . "$folder/log" || fail "ringbolt status says nothing"
mine='drain = "4s"'
inside sh -c "printf '[access_log]\noutput = \"syslog\"\n[timeouts]\n%s\n' '$mine' >>/etc/ringbolt/ringbolt.toml"

nsenter --target "$init" --net python3 "$here/tunnels.py" <"$folder/to" >"$folder/from" &
tunnels=$!
exec 3>"$folder/to" 4<"$folder/from"
read -r said <&4
[ "$said" = open ] || fail "tunnels: $said"
tell "tunnels before the upgrade"
before=$(main_pid)
install "$new"
if grep "could not hand over" "$folder/log"; then fail "the upgrade was refused"; fi
await sh -c "[ \"\$(nsenter --target $init --mount --pid --root --wdns=/ systemctl show --property MainPID --value ringbolt)\" != $before ]"
after=$(main_pid)
tell "tunnels after the upgrade"
expect "the service runs on" active systemctl is-active ringbolt
expect "it was not restarted" 0 systemctl show --property NRestarts --value ringbolt
# As this system's own root is called by the kernel; a program that was replaced would be "(deleted)".
expect "the new program serves" /usr/bin/ringbolt sh -c "readlink /proc/$(main_pid)/exe | sed 's|^/mnt/root||'"
expect "the change of the configuration stayed" "$mine" tail -n 1 /etc/ringbolt/ringbolt.toml
# One that the configuration of the new process names: the old one wrote none.
request /seen
await inside sh -c "journalctl -q -t ringbolt -o cat -p info | grep -q '\"event\":\"request\".*\"path\":\"/seen\"'"
echo "ok: the access log's line is in the journal"
inside systemctl reload ringbolt || fail "systemctl reload"
tell "tunnels after a reload"

inside dpkg -r ringbolt >"$folder/log" 2>&1 || fail "dpkg -r: $(cat "$folder/log")"
expect "the service is gone" inactive systemctl is-active ringbolt
# Not killed: systemd gives an upgraded process no time by itself.
expect "it has drained" drained sh -c "journalctl -u ringbolt -o cat _PID=$after | grep -o 'drained$'"
expect "nothing of it runs" "" pgrep -x ringbolt
expect "its unit is gone" not-found systemctl show --property LoadState --value ringbolt
expect "the configuration stays" "$mine" tail -n 1 /etc/ringbolt/ringbolt.toml
install "$old"
expect "installed again it runs" active systemctl is-active ringbolt
# Whoever comes while nobody serves waits for the process that systemd starts in its place.
inside sh -c "kill -KILL $(main_pid)"
request /behind-a-crash
expect "it was restarted, and no client refused" 1 systemctl show --property NRestarts --value ringbolt
inside systemctl --quiet disable --now ringbolt
install "$new"
expect "disabled it stays, and stopped" "disabled inactive" \
    sh -c "echo \$(systemctl is-enabled ringbolt) \$(systemctl is-active ringbolt)"
inside sh -c "mkdir -p /var/lib/ringbolt && echo '{}' >/var/lib/ringbolt/tune.json"
inside dpkg -P ringbolt >"$folder/log" 2>&1 || fail "dpkg -P: $(cat "$folder/log")"
expect "dpkg knows it no more" "" sh -c "dpkg-query -W ringbolt 2>/dev/null"
# By name, wherever it may be: all that stays is the user.
expect "no file of it is left" "" \
    find / -xdev \( -path /proc -o -path /sys -o -path /var/packages \) -prune -o -name '*ringbolt*' -print

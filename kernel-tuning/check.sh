#!/bin/sh
# Compares this machine with sysctl.d/90-ringbolt.conf. Reads only; changes nothing.
# Exit status: 0 if every setting is at least the recommended one, 1 if any is below, 2 if it cannot tell.
set -eu

conf="$(dirname "$0")/sysctl.d/90-ringbolt.conf"
[ -r "$conf" ] || { echo "check.sh: cannot read $conf" >&2; exit 2; }

# The value of a setting on this machine, blanks squeezed; fails where the kernel does not have it.
host_value() {
    path="/proc/sys/$(echo "$1" | tr . /)"
    [ -r "$path" ] && tr -s '[:blank:]' ' ' <"$path"
}

# Number of local ports in a range "LOW HIGH".
ports() {
    echo "$(($2 - $1 + 1))"
}

# Whether host value $2 of setting $1 is at least the recommended $3.
is_enough() {
    case "$1" in
    net.ipv4.ip_local_port_range)
        # Two numbers each: split on purpose.
        # shellcheck disable=SC2086
        [ "$(ports $2)" -ge "$(ports $3)" ]
        ;;
    net.ipv4.tcp_tw_reuse)
        # A mode, not an amount: 2 is less than 1.
        [ "$2" = "$3" ]
        ;;
    *)
        [ "$2" -ge "$3" ]
        ;;
    esac
}

row() {
    printf '%-32s %-21s %-21s %s\n' "$1" "$2" "$3" "$4"
}

# Settings that only some machines have, or that only the operator can judge. They do not decide the exit status.
notes() {
    uring="$(host_value kernel.io_uring_disabled || true)"
    case "$uring" in
    1) echo "note: kernel.io_uring_disabled = 1: only members of kernel.io_uring_group get io_uring; others run on epoll" ;;
    2) echo "note: kernel.io_uring_disabled = 2: io_uring is forbidden, the proxy runs on epoll" ;;
    esac
    tracked="$(host_value net.netfilter.nf_conntrack_max || true)"
    if [ -n "$tracked" ]; then
        echo "note: connection tracking is loaded with room for $tracked connections; a tunnel takes two." \
            "Exempt the proxy's ports from tracking, or raise net.netfilter.nf_conntrack_max"
    fi
    hard="$(sed -n 's/^Max open files *[0-9a-z]* *\([0-9a-z]*\).*/\1/p' /proc/self/limits)"
    echo "note: open descriptors: $(cut -f 1 /proc/sys/fs/file-nr); hard limit of a process of this shell: $hard"
    memory="$(sed -n 's/^TCP:.* mem //p' /proc/net/sockstat)"
    echo "note: TCP buffers take $memory pages; net.ipv4.tcp_mem is $(host_value net.ipv4.tcp_mem)" \
        "(all well, pressure, most)"
}

below=0
row setting "this machine" recommended ""
while IFS='=' read -r name wanted; do
    name="$(echo "$name" | tr -d '[:blank:]')"
    wanted="$(echo "$wanted" | sed 's/^ *//; s/ *$//')"
    case "$name" in
    '' | '#'*) continue ;;
    esac
    if ! host="$(host_value "$name")"; then
        row "$name" "not in this kernel" "$wanted" ""
    elif is_enough "$name" "$host" "$wanted"; then
        row "$name" "$host" "$wanted" ok
    else
        row "$name" "$host" "$wanted" BELOW
        below=$((below + 1))
    fi
done <"$conf"
echo
notes

if [ "$below" -gt 0 ]; then
    echo "$below below the recommended value: see $conf for what each costs"
    exit 1
fi

#!/bin/sh
# Builds the image of packaging/Containerfile on the Debian system in the folder $1, of the package's files in the folder
# $2, and serves with it: under podman's own seccomp filter, and under one that allows io_uring. Runs in namespaces of its
# own, as root. Exit status 0 if everything was as it should be.
set -eu

here=$(dirname "$(readlink -f "$0")")
system=$1 context=$2
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# One hierarchy: what podman's runtime knows best.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# In memory, and of this mount namespace only: it is gone with it.
mount -t tmpfs tmpfs /mnt
ip link set lo up

pod() {
    podman --root /mnt/images --runroot /mnt/run --storage-driver overlay --cgroup-manager cgroupfs "$@"
}

fail() {
    echo "FAILED: $*" >&2
    pod logs ringbolt >&2 || true
    exit 1
}

# Until the command succeeds, for half a minute.
await() {
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "this never came true: $*"
}

# Runs the image with the options behind the engine's name, which it is to serve on.
serves_on() {
    engine=$1
    shift
    pod run --name ringbolt --detach --cgroups disabled --network host "$@" ringbolt >/dev/null
    await sh -c "curl -s http://127.0.0.1:9180/metrics | grep -q 'ringbolt_engine_info{engine=\"$engine\"} [1-9]'"
    said=$(curl -s http://127.0.0.1:8080/said)
    [ "$said" = served ] || fail "the backend's answer: $said"
    pod stop --time 20 ringbolt >/dev/null
    status=$(pod inspect --format '{{.State.ExitCode}}' ringbolt)
    [ "$status" = 0 ] || fail "stopped with $status"
    pod logs ringbolt >/mnt/log 2>&1
    pod rm ringbolt >/dev/null
    echo "ok: it serves on $engine, and drains when it is stopped"
}

# The image it begins from, without a registry: the same Debian.
tar -C "$system" --exclude './dev/*' -c . | pod import --quiet - localhost/debian:bookworm-slim >/dev/null
pod build --quiet --pull=never --isolation chroot -f "$here/../Containerfile" -t ringbolt "$context" >/dev/null
echo "ok: the image is built"

mkdir /mnt/backend
echo served >/mnt/backend/said
python3 -m http.server --bind 127.0.0.1 --directory /mnt/backend 3000 >/dev/null 2>&1 &
await curl --fail http://127.0.0.1:3000/said

serves_on epoll
grep -q "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile" /mnt/log ||
    fail "cause and cure are not told: $(cat /mnt/log)"
allowed='{"names":["io_uring_setup","io_uring_enter","io_uring_register"],"action":"SCMP_ACT_ALLOW"},'
sed "s/\"syscalls\": \[/&$allowed/" /usr/share/containers/seccomp.json >/mnt/seccomp.json
serves_on uring --security-opt seccomp=/mnt/seccomp.json

#!/bin/sh
# Boots the systemd of the Debian system in the folder $1, in the namespaces that this runs in. Nothing is written to
# the folder: an overlay in memory takes it. Ends when systemd does.
set -e

lower=$1
mount --make-rprivate /
# In memory, and of this mount namespace only: it is gone with it.
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
root=/mnt/root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=/mnt/upper,workdir=/mnt/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for folder in run tmp dev; do
    mount -t tmpfs tmpfs "$root/$folder"
done
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mkdir "$root/var/packages"
cp "$2" "$3" "$root/var/packages/"
ip link set lo up
exec chroot "$root" env -i container=ringbolt PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --log-target=journal

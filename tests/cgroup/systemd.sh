# A systemd of its own, in namespaces of its own, that can touch nothing of the host but a control group of this name.
# Usage: systemd.sh v2|v1 GROUP FOLDER
set -e
mode=$1 group=$2 folder=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
# Directories alone say nothing: init scripts make some for hierarchies that they then cannot mount.
hierarchies=$(awk '$5 ~ "^/sys/fs/cgroup/[^/]+$" { sub(".*/", "", $5); print $5 }' /proc/self/mountinfo | sort -u)

# First as the group's name shows it from outside, to go there …
umount -R /sys/fs/cgroup
case $mode in
v2)
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir "/sys/fs/cgroup/$group"
    echo 0 >"/sys/fs/cgroup/$group/cgroup.procs"
    ;;
v1)
    mount -t tmpfs none /sys/fs/cgroup
    for name in $hierarchies; do
        mkdir "/sys/fs/cgroup/$name"
        case $name in
        unified) mount -t cgroup2 none "/sys/fs/cgroup/$name" ;;
        systemd) mount -t cgroup -o none,name=systemd none "/sys/fs/cgroup/$name" ;;
        *) mount -t cgroup -o "$name" none "/sys/fs/cgroup/$name" ;;
        esac
        mkdir "/sys/fs/cgroup/$name/$group"
        if [ "$name" = cpuset ]; then
            cat /sys/fs/cgroup/cpuset/cpuset.cpus >"/sys/fs/cgroup/cpuset/$group/cpuset.cpus"
            cat /sys/fs/cgroup/cpuset/cpuset.mems >"/sys/fs/cgroup/cpuset/$group/cpuset.mems"
        fi
        echo 0 >"/sys/fs/cgroup/$name/$group/cgroup.procs"
    done
    ;;
esac

# … then as the root that it is from inside.
export mode group folder hierarchies
exec unshare --cgroup sh -ec '
umount -R /sys/fs/cgroup
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t sysfs -o ro sysfs /sys
if [ "$mode" = v2 ]; then
    mount -t cgroup2 none /sys/fs/cgroup
else
    mount -t tmpfs none /sys/fs/cgroup
    for name in $hierarchies; do
        mkdir "/sys/fs/cgroup/$name"
        case $name in
        unified) mount -t cgroup2 none "/sys/fs/cgroup/$name" ;;
        systemd) mount -t cgroup -o none,name=systemd none "/sys/fs/cgroup/$name" ;;
        *) mount -t cgroup -o "$name" none "/sys/fs/cgroup/$name" ;;
        esac
    done
fi
cd "$folder"
mkdir dev run
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
for name in null zero full random urandom tty ptmx; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
for name in console kmsg; do touch "dev/$name"; mount --bind /dev/null "dev/$name"; done
mount --rbind dev /dev
cp /etc/passwd /etc/group .
echo "tester:x:1234:1234::/run/user/1234:/bin/sh" >>passwd
echo "tester:x:1234:" >>group
mount --bind passwd /etc/passwd
mount --bind group /etc/group
mount --bind run /run
mkdir -p /run/lock /run/dbus /run/units /run/none /run/user/1234
chown 1234 /run/user/1234

# No unit of the host is known to it.
cat >/run/units/test.target <<EOF
[Unit]
DefaultDependencies=no
Wants=dbus.socket dbus.service user@1234.service
EOF
cat >/run/units/dbus.service <<EOF
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/usr/bin/dbus-daemon --system --nofork --nopidfile --address=systemd:
EOF
cat >/run/units/dbus.socket <<EOF
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/dbus/system_bus_socket
EOF
cat >"/run/units/user@1234.service" <<EOF
[Unit]
DefaultDependencies=no
[Service]
User=1234
Slice=user-1234.slice
Type=notify
Delegate=yes
Environment=XDG_RUNTIME_DIR=/run/user/1234 HOME=/run/user/1234 SYSTEMD_UNIT_PATH=/run/systemd/transient:/run/units SYSTEMD_GENERATOR_PATH=/run/none
ExecStart=/lib/systemd/systemd --user --unit=test-user.target --log-target=null
EOF
cat >/run/units/test-user.target <<EOF
[Unit]
DefaultDependencies=no
EOF
export container=test SYSTEMD_UNIT_PATH=/run/systemd/transient:/run/units SYSTEMD_GENERATOR_PATH=/run/none
exec /lib/systemd/systemd --system --unit=test.target --log-target=null --show-status=0
'

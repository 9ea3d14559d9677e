"""What a container shows of itself: commands for its shell, and how to read what they print."""
import re

# A first process that says when it is up, and ends with 3 when it is asked to.
IDLE = ('sh', '-c', 'trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done')

# The calls that `probe` makes.
GATES = ('unshare', 'clone3', 'keyctl', 'int80', 'x32')

MASKED = '''
for f in /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware /proc/acpi; do
    echo $f $(stat -c "%F" $f 2>&1) $(ls $f 2>/dev/null | wc -l) $(head -c1 $f 2>/dev/null | wc -c)
done
for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq /proc/bus; do
    touch $f 2>&1 | sed "s/.*: //"
done'''

DEVICES = '''
cd /dev
stat -c "%n %F %a %t:%T %u:%g" * pts/* | sort
for l in fd stdin ptmx core; do echo $l $(readlink $l); done'''


def capabilities(status):
    """The capability sets of /proc/PID/status, as numbers."""
    return {key: int(value, 16) for key, value in re.findall(r'^(Cap\w+):\s*([0-9a-f]+)', status, re.M)}


def confinement(status):
    """The lines of /proc/PID/status that say what a process may do."""
    return re.findall(r'^((?:Cap\w+|NoNewPrivs|Seccomp|Uid|Gid|Groups):.*)', status, re.M)


def mounts(mountinfo):
    """Target, kind and options of each mount, sorted, without what two runtimes may rightly do in two ways: a masked
    file is some null device, a masked directory some read-only tmpfs, the cgroup v1 hierarchies stand in any order."""
    rows = set()
    for line in mountinfo.splitlines():
        left, right = line.split(' - ')
        source, target, options = left.split()[3:6]
        kind, _, details = right.split(' ', 2)
        if source.endswith('/null') and kind in ('tmpfs', 'devtmpfs'):
            kind = options = 'null'
        elif kind == 'devtmpfs':
            options = 'node'  # of the host, bound: with tare nothing about it can be changed, with others its mode can
        elif kind == 'tmpfs' and 'ro' in options.split(','):
            options = 'ro'
        elif kind == 'tmpfs' and target == '/sys/fs/cgroup':
            options = 'ro'  # runc leaves this directory of the hierarchies writable, against its configuration
        elif target == '/dev/shm':
            # A bind of another mount: with a lone `rw`, runc from 1.2 on gives up the source's nosuid, nodev, noexec.
            options = ','.join(word for word in options.split(',') if word not in ('nosuid', 'nodev', 'noexec'))
        elif kind == 'devpts':
            options += ',' + details
        rows.add((target, kind, options))
    return sorted(rows)

"""What a container shows of itself: commands for its shell, and how to read what they print."""
import re

# A first process that says when it is up, and ends with 3 when it is asked to.
IDLE = ('sh', '-c', 'trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done')

# The calls that `probe` makes.
GATES = ('unshare', 'clone3', 'keyctl', 'int80', 'x32')

MASKED = '''
for f in /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware /proc/acpi; do
    echo $f $(stat -c "%F %a" $f 2>&1) $(ls $f 2>/dev/null | wc -l) $(head -c1 $f 2>/dev/null | wc -c)
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
    """Target, options, kind and details of each mount, without what differs between two containers."""
    rows = []
    for line in mountinfo.splitlines():
        left, right = line.split(' - ')
        target, options = left.split()[4:6]
        kind, _, details = right.split(' ', 2)
        details = '' if target == '/' else re.sub(r',?(size|inode64|nr_inodes)[^,]*', '', details)
        rows.append((target, options, kind, details))
    return rows

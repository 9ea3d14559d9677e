"""The container that is measured: what `spec` writes, without a terminal and without linux.resources.

The resources are left out for everybody: Debian's crun cannot load its device program on every machine, and the floor
has none.
"""
import json
import os
import shutil

CAPABILITIES = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE']
MASKED = ['/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list',
          '/proc/timer_stats', '/proc/sched_debug', '/sys/firmware', '/proc/scsi']
READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']


def mount(target, kind, options, source=None):
    return {'destination': target, 'type': kind, 'source': source or kind, 'options': options}


def config(rootfs, arguments, cgroup, cgroup_namespace):
    quiet = ['nosuid', 'noexec', 'nodev']
    kinds = ['pid', 'network', 'ipc', 'uts', 'mount'] + (['cgroup'] if cgroup_namespace else [])
    return {
        'ociVersion': '1.0.2',
        'process': {
            'user': {'uid': 0, 'gid': 0},
            'args': arguments,
            'env': ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=xterm'],
            'cwd': '/',
            'capabilities': {'bounding': CAPABILITIES, 'effective': CAPABILITIES, 'permitted': CAPABILITIES},
            'noNewPrivileges': True,
        },
        'root': {'path': rootfs, 'readonly': False},
        'hostname': 'bench',
        'mounts': [
            mount('/proc', 'proc', []),
            mount('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
            mount('/dev/pts', 'devpts', ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620']),
            mount('/dev/shm', 'tmpfs', quiet + ['mode=1777', 'size=65536k'], 'shm'),
            mount('/dev/mqueue', 'mqueue', quiet),
            mount('/sys', 'sysfs', quiet + ['ro']),
            mount('/sys/fs/cgroup', 'cgroup', quiet + ['relatime', 'ro']),
        ],
        'linux': {
            'cgroupsPath': cgroup,
            'namespaces': [{'type': kind} for kind in kinds],
            'maskedPaths': MASKED,
            'readonlyPaths': READ_ONLY,
        },
    }


def rootfs(directory):
    """busybox, under the names that the workloads call."""
    binaries = os.path.join(directory, 'bin')
    os.makedirs(binaries)
    shutil.copy('/bin/busybox', binaries)
    for name in ('sh', 'true', 'sleep'):
        os.symlink('busybox', os.path.join(binaries, name))
    return directory


def write(directory, document):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, 'config.json'), 'w') as file:
        json.dump(document, file)
    return directory

"""The containers that are measured.

The plain one is what `spec` writes, without a terminal. linux.resources are left out for everybody: Debian's crun
cannot load its device program on every machine, and the floor has none.
"""
import json
import os
import shutil

HERE = os.path.dirname(os.path.abspath(__file__))
DOCKER = os.path.join(HERE, '..', '..', 'tests', 'corpus', 'docker-default.json')
CAPABILITIES = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE']
MASKED = ['/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list',
          '/proc/timer_stats', '/proc/sched_debug', '/sys/firmware', '/proc/scsi']
READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
FIRST_ID = 100000  # of the user namespace, on the host


def mount(target, kind, options, source=None):
    return {'destination': target, 'type': kind, 'source': source or kind, 'options': options}


def plain(rootfs, arguments, cgroup, cgroup_namespace):
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


def docker(rootfs, arguments, cgroup, cgroup_namespace):
    """As dockerd has written it, with its seccomp profile; without the hook by which it hands over the network."""
    with open(DOCKER) as file:
        config = json.load(file)
    del config['hooks'], config['linux']['resources']
    config['process']['args'] = arguments
    config['root']['path'] = rootfs
    config['linux']['cgroupsPath'] = cgroup
    config['linux']['namespaces'] = plain(rootfs, arguments, cgroup, cgroup_namespace)['linux']['namespaces']
    for each in config['mounts']:
        if each['type'] == 'bind':
            each['source'] = '/etc/hostname'
    return config


def many_mounts(*words, count=200):
    """Of a directory, every second one read-only."""
    config = plain(*words)
    config['mounts'] += [mount(f'/mnt/{number}', 'bind', ['rbind', 'ro' if number % 2 else 'rw'], '/usr')
                         for number in range(count)]
    return config


def user_namespace(*words):
    config = plain(*words)
    config['linux']['namespaces'].append({'type': 'user'})
    for kind in ('uidMappings', 'gidMappings'):
        config['linux'][kind] = [{'containerID': 0, 'hostID': FIRST_ID, 'size': 65536}]
    return config


def unlinked(*words):
    """Without a network of its own: a thousand of those keep the kernel busy long after their end."""
    config = plain(*words)
    config['linux']['namespaces'] = [each for each in config['linux']['namespaces'] if each['type'] != 'network']
    return config


def rootfs(directory, owner=0):
    """busybox, under the names that the workloads call; and where things are mounted, for a root who may not make it."""
    binaries = os.path.join(directory, 'bin')
    for name in ('bin', 'dev', 'etc', 'mnt', 'proc', 'sys'):
        os.makedirs(os.path.join(directory, name))
    shutil.copy('/bin/busybox', binaries)
    for name in ('sh', 'true', 'sleep'):
        os.symlink('busybox', os.path.join(binaries, name))
    for folder, _, files in os.walk(directory):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            os.chown(path, owner, owner, follow_symlinks=False)
    return directory


def write(directory, document):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, 'config.json'), 'w') as file:
        json.dump(document, file)
    return directory

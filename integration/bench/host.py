"""The same `run` on a host with many mounts, and on one with many cgroups. What they cost the floor is the kernel's."""
import ctypes
import os
import statistics
import subprocess

import verbs
from contenders import Floor

MS_BIND = 4096


def measure(bench, runtimes, options):
    mounts, groups, count = (1000, 500, 6) if options.quick else (10000, 5000, 20)
    everyone = [*runtimes, Floor(bench)]
    directories = {each.name: each.bundle('host', '/bin/true') for each in runtimes}

    def medians():
        row = verbs.rounds(bench, everyone, verbs.RUN, options.gap, count, lambda each: each.run(directories.get(each.name)))
        return {name: [statistics.median(column) for column in zip(*samples)] for name, samples in row['samples'].items()}

    before = medians()
    remove = add_mounts(f'{bench.mine}/many', mounts)
    mounted = medians()
    remove()
    remove = add_groups(f'/sys/fs/cgroup/{bench.group}/many', groups)
    grouped = medians()
    remove()
    rows = [[name, *before[name], *mounted[name], *grown(before[name], mounted[name]), *grown(before[name], grouped[name])]
            for name in before]
    return [{'title': 'On a crowded host',
            'text': f'`run` with {options.gap:g} ms between runs, medians in ms; and on a host with {mounts} mounts more, or '
                    f'{groups} cgroups more. What they add to the floor is the kernel\'s: it copies the mounts for every '
                    'mount namespace.',
            'head': ['', 'wall', 'CPU', f'{mounts} mounts: wall', 'CPU', '÷ before, wall', 'CPU',
                     f'{groups} cgroups: ÷ before, wall', 'CPU'],
            'rows': rows}]


def grown(before, after):
    return [f'{late / early:.2f}' for early, late in zip(before, after)]


def add_mounts(directory, count):
    """All under one mount, which takes them with it."""
    os.makedirs(directory)
    subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', directory], check=True)
    libc = ctypes.CDLL(None, use_errno=True)
    source = f'{directory}/source'.encode()
    os.mkdir(source)
    for number in range(count):
        target = f'{directory}/{number}'.encode()
        os.mkdir(target)
        if libc.mount(source, target, None, MS_BIND, None) != 0:
            raise OSError(ctypes.get_errno(), 'mount')
    return lambda: subprocess.run(['umount', '--lazy', directory], check=True)


def add_groups(directory, count):
    paths = [directory, *(f'{directory}/{number}' for number in range(count))]
    for path in paths:
        os.mkdir(path)

    def remove():
        for path in reversed(paths):
            os.rmdir(path)
    return remove

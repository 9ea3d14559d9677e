"""Namespaces."""
import os

from harness import cgroups, check

from . import flow


def same_namespace(it, kind, *options):
    return it.box('readlink', f'/proc/self/ns/{kind}', options=options) == os.readlink(f'/proc/self/ns/{kind}')


@flow('namespaces of the default container')
def _(it):
    shared = [kind for kind in ('pid', 'ipc', 'uts', 'net', 'mnt', 'user', 'cgroup') if same_namespace(it, kind)]
    check(not {'pid', 'ipc', 'uts', 'net', 'mnt'} & set(shared), f'shared with the host: {shared}')
    return shared


@flow('--pid host')
def _(it):
    check(same_namespace(it, 'pid', '--pid', 'host'), 'the host\'s own')
    name = it.up('--pid', 'host')
    it.docker('exec', name, 'sh', '-c', 'sleep 1000 & sleep 1000 & true').ok()
    it.docker('rm', '-f', name).ok()
    check(not cgroups(f'{it.engine.group}/{name}'), 'every process has been killed, no cgroup is left')


@flow('--ipc, --uts, --network, --cgroupns host')
def _(it):
    for kind, option in (('ipc', '--ipc'), ('uts', '--uts'), ('net', '--network'), ('cgroup', '--cgroupns')):
        check(same_namespace(it, kind, option, 'host'), f'{option} host')


@flow('--cgroupns private')
def _(it):
    check(not same_namespace(it, 'cgroup', '--cgroupns', 'private'), 'its own')
    return it.box('sh', '-c', 'cat /proc/self/cgroup; ls /sys/fs/cgroup | sort', options=['--cgroupns', 'private'])


@flow('--pid, --ipc, --network container:')
def _(it):
    name = it.up('--ipc', 'shareable')
    for kind, option in (('pid', '--pid'), ('ipc', '--ipc'), ('net', '--network')):
        mine = it.docker('exec', name, 'readlink', f'/proc/self/ns/{kind}').ok()
        other = it.box('readlink', f'/proc/self/ns/{kind}', options=[option, f'container:{name}'])
        check(mine == other, f'{option}: {mine} and {other}')

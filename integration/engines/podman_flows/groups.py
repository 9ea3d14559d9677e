"""Where a container's processes are counted."""
import os

from harness import Skip, check

from . import flow


def group_of(it, name):
    """The lines of /proc/PID/cgroup of the first process, as the host sees them."""
    with open(f'/proc/{it.inspect(name, ".State.Pid")}/cgroup') as file:
        return sorted(file.read().split())


def own():
    with open('/proc/self/cgroup') as file:
        return sorted(file.read().split())


@flow('--cgroups=disabled: the container stays in ours', fast=False)
def _(it):
    name = it.up('--cgroups=disabled')
    check(group_of(it, name) == own(), f'{group_of(it, name)}')
    check(it.podman('exec', name, 'echo', 'again').ok() == 'again', 'exec')
    it.podman('stop', '-t', '5', name).ok()
    return it.stopped(name)


@flow('--cgroups=no-conmon')
def _(it):
    name = it.up('--cgroups=no-conmon')
    if it.engine.groups:
        check(group_of(it, name) != own(), 'a group of its own')
    return it.podman('exec', name, 'echo', 'again').ok()


@flow('--cgroups=split', fast=False)
def _(it):
    if not os.path.exists('/sys/fs/cgroup/cgroup.controllers'):
        raise Skip('Podman splits cgroup v2 only')
    name = it.up('--cgroups=split')
    check(any('libpod-payload' in line for line in group_of(it, name)), f'{group_of(it, name)}')


@flow('a cgroup parent of one\'s own')
def _(it):
    if not it.engine.groups:
        raise Skip('a user has no cgroups here')
    name = it.up('--cgroup-parent', f'/{it.engine.group}/deeper')
    check(all(f'/{it.engine.group}/deeper/libpod-{name}' in line for line in group_of(it, name) if ':memory:' in line),
          f'{group_of(it, name)}')

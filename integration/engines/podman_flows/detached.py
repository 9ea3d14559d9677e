"""A detached container."""
from harness import check, within

from . import BOX, flow


@flow('-d, logs, stop, rm')
def _(it):
    name = it.up()
    it.podman('stop', '-t', '10', name).ok()
    check(it.stopped(name) == 3, 'its own SIGTERM handler has ended it')
    log = it.podman('logs', name).ok()
    it.podman('rm', name).ok()
    check(not it.left(name), f'no cgroup is left: {it.left(name)}')
    return log


@flow('stop by SIGKILL after the time')
def _(it):
    name = it.up(command=('sleep', '1000'))
    it.podman('stop', '-t', '1', name).ok()
    check(it.stopped(name) == 137, 'killed')


@flow('kill with a signal')
def _(it):
    name = it.up(command=('sh', '-c', 'trap "exit 5" USR1; echo up; while :; do sleep 0.1; done'))
    within(20, lambda: 'up' in it.podman('logs', name).out, 'up')
    it.podman('kill', '-s', 'USR1', name).ok()
    check(it.stopped(name) == 5, 'SIGUSR1 has arrived')


@flow('create, start, wait, restart')
def _(it):
    name = it.podman('create', *it.words()[1:], BOX, 'sh', '-c', 'echo run; exit 4').ok()
    it.podman('start', name).ok()
    first = it.podman('wait', name).ok()
    it.podman('restart', name).ok()
    it.podman('wait', name).ok()
    within(10, lambda: it.podman('logs', name).out.count('run') == 2, 'it has run twice')
    return first


@flow('rm --force')
def _(it):
    name = it.up()
    it.podman('rm', '-f', '-t', '0', name).ok()
    check(not it.left(name), 'no cgroup is left')


@flow('pause and unpause')
def _(it):
    name = it.up()
    it.podman('pause', name).ok()
    check(it.inspect(name, '.State.Status') == 'paused', 'paused')
    it.podman('unpause', name).ok()
    return it.podman('exec', name, 'echo', 'again').ok()


@flow('top, stats')
def _(it):
    name = it.up('-m', '64m', command=('sleep', '1000'))
    check('sleep 1000' in it.podman('top', name, 'pid', 'args').ok(), 'top')
    line = it.podman('stats', '--no-stream', '--format', '{{.MemUsage}}', name).ok()
    check('/ 67.11MB' in line, f'stats: {line}')

"""A detached container, and what is done to it."""
from harness import cgroups, check, within

from . import BOX, flow


@flow('-d, logs, stop, rm')
def _(it):
    name = it.up()
    it.docker('stop', '-t', '10', name).ok()
    code = it.stopped(name)
    check(code == 3, f'its own SIGTERM handler has ended it: {code}')
    log = it.docker('logs', name).ok()
    it.docker('rm', name).ok()
    check(not cgroups(f'{it.engine.group}/{name}'), 'no cgroup is left')
    return code, log


@flow('the runtime asked for is the one that ran')
def _(it):
    check(it.inspect(it.up(), '.HostConfig.Runtime') == f'"{it.runtime}"', 'inspect says so')


@flow('stop by SIGKILL after the time')
def _(it):
    name = it.up(command=('sleep', '1000'))  # process 1 without a handler does not hear SIGTERM
    it.docker('stop', '-t', '1', name).ok()
    check(it.stopped(name) == 137, 'killed')


@flow('kill with a signal')
def _(it):
    name = it.up(command=('sh', '-c', 'trap "exit 5" USR1; trap "exit 6" HUP; echo up; while :; do sleep 0.1; done'))
    within(20, lambda: 'up' in it.docker('logs', name).out, 'up')
    it.docker('kill', '-s', 'USR1', name).ok()
    check(it.stopped(name) == 5, 'SIGUSR1 has arrived')


@flow('rm --force of a running container')
def _(it):
    name = it.up()
    it.docker('rm', '-f', name).ok()
    check(not cgroups(f'{it.engine.group}/{name}'), 'no cgroup is left')


@flow('wait gives the exit code')
def _(it):
    check(it.docker('wait', it.up(command=('sh', '-c', 'sleep 0.3; exit 4'))).ok() == '4', 'status 4')


@flow('restart of a stopped container')
def _(it):
    name = it.up()
    it.docker('restart', '-t', '5', name).ok()
    within(20, lambda: it.docker('logs', name).out.count('ready') == 2, 'it runs a second time')
    return it.status(name)


@flow('create, then start --attach')
def _(it):
    name = it.docker('create', *it.words()[1:], BOX, 'sh', '-c', 'echo late; exit 8').ok()
    result = it.docker('start', '-a', name)
    check((result.out.strip(), result.status) == ('late', 8), f'{result.out!r} {result.status}')


@flow('top')
def _(it):
    lines = it.docker('top', it.up(command=('sleep', '1000')), '-o', 'pid,comm,args').ok().splitlines()
    check(len(lines) == 2 and 'sleep 1000' in lines[1], f'one process: {lines}')
    return lines[0]


@flow('stats')
def _(it):
    name = it.up('-m', '64m', '--pids-limit', '50')
    line = it.docker('stats', '--no-stream', '--format', '{{.MemUsage}}|{{.PIDs}}|{{.CPUPerc}}', name).ok()
    memory, processes, cpu = line.split('|')
    check(memory.endswith('/ 64MiB') and not memory.startswith('0B'), f'memory is counted: {line}')
    check(int(processes) >= 1 and cpu.endswith('%'), f'processes and CPU are counted: {line}')


@flow('pause and unpause')
def _(it):
    name = it.up('-m', '64m')
    it.docker('pause', name).ok()
    check(it.status(name) == 'paused', 'inspect says paused')
    refused = it.docker('exec', name, 'true')
    check(refused.status != 0, 'no exec while paused')
    it.docker('unpause', name).ok()
    check(it.docker('exec', name, 'echo', 'again').ok() == 'again', 'it goes on')
    return refused.status


@flow('kill of a paused container')
def _(it):
    name = it.up()
    it.docker('pause', name).ok()
    it.docker('rm', '-f', name).ok()
    check(not cgroups(f'{it.engine.group}/{name}'), 'no cgroup is left')


@flow('--stop-signal, --stop-timeout')
def _(it):
    name = it.up('--stop-signal', 'USR2', '--stop-timeout', '10',
                 command=('sh', '-c', 'trap "exit 11" USR2; trap "exit 12" TERM; echo up; while :; do sleep 0.1; done'))
    within(20, lambda: 'up' in it.docker('logs', name).out, 'up')
    it.docker('stop', name).ok()
    check(it.stopped(name) == 11, 'the signal that was asked for')


@flow('rename, then everything by the new name')
def _(it):
    new = f'renamed-{it.runtime}'
    it.docker('rename', it.up(), new).ok()
    check(it.docker('exec', new, 'echo', 'alive').ok() == 'alive', 'exec')
    it.docker('stop', '-t', '5', new).ok()
    it.docker('start', new).ok()
    return it.docker('logs', new).ok()

"""What the engine does over time."""
import json

from harness import call, within

from . import flow


@flow('healthcheck', fast=False)
def _(it):
    name = it.up('--health-cmd', 'test -e /tmp/well', '--health-interval', '300ms', '--health-retries', '2')
    health = lambda: json.loads(it.inspect(name, '.State.Health.Status'))  # noqa: E731
    within(15, lambda: health() == 'unhealthy', 'unhealthy without the file')
    it.docker('exec', name, 'touch', '/tmp/well').ok()
    within(15, lambda: health() == 'healthy', 'healthy with it')


@flow('restart policy', fast=False)
def _(it):
    name = it.up('--restart', 'on-failure:2', command=('sh', '-c', 'echo run; exit 1'))
    within(30, lambda: it.docker('logs', name).out.count('run') == 3 and it.status(name) == 'exited', 'three runs')
    return json.loads(it.inspect(name, '.RestartCount'))


@flow('events', fast=False)
def _(it):
    begin = call('date', '+%s.%N').ok()
    name = it.up(command=('true',))
    it.stopped(name)
    it.docker('rm', name).ok()
    end = call('date', '+%s.%N').ok()
    return it.docker('events', '--since', begin, '--until', end, '--filter', f'container={name}', '--format', '{{.Action}}').ok()


@flow('log drivers', fast=False)
def _(it):
    seen = []
    for driver in ('json-file', 'local', 'none'):
        name = it.up('--log-driver', driver, command=('sh', '-c', 'echo out; echo err >&2'))
        it.stopped(name)
        logs = it.docker('logs', name)
        seen.append((driver, logs.out, logs.err if driver != 'none' else logs.status))
    return seen

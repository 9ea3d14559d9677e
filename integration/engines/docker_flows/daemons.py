"""What needs a daemon of its own."""
import os

from harness import add_lines, check

from . import BOX, flow


@flow('build: RUN steps run in the runtime', fast=False)
def _(it):
    it.own_daemon()
    context = f'{it.engine.work}/build'
    os.makedirs(context, exist_ok=True)
    with open(context + '/Dockerfile', 'w') as file:
        file.write(f'FROM {BOX}\nRUN echo built > /made && id -u >> /made\nUSER tester\nWORKDIR /tmp\n'
                   'RUN id -u > here; grep NoNewPrivs /proc/self/status >> here\nCMD cat /made /tmp/here\n')
    it.docker('build', '--network', 'none', '-t', 'built', context, env=dict(os.environ, DOCKER_BUILDKIT='0'), timeout=120).ok()
    return it.run('built').ok()


@flow('userns-remap', fast=False)
def _(it):
    lines = 'nobody:100000:65536\nnogroup:100000:65536\n'
    add_lines(it.engine.work, subuid=lines, subgid=lines)
    it.own_daemon('--userns-remap', 'nobody:nogroup')
    name = it.up('-m', '64m')
    it.docker('exec', name, 'touch', '/tmp/mark').ok()
    seen = it.docker('exec', name, 'sh', '-c', 'cat /proc/self/uid_map; id -u; stat -c %u /tmp/mark /proc/1 /etc/passwd').ok()
    check(seen.split()[:3] == ['0', '100000', '65536'], f'mapped: {seen}')
    return seen


@flow('dockerd killed and started again: the container is still there', fast=False)
def _(it):
    daemon = it.own_daemon('--live-restore')
    name = it.up()
    daemon.kill()
    daemon.begin()
    check(it.status(name) == 'running', f'{it.status(name)}')
    check(it.docker('exec', name, 'echo', 'alive').ok() == 'alive', 'exec')
    it.docker('pause', name).ok()
    daemon.kill()
    daemon.begin()
    it.docker('unpause', name).ok()
    it.docker('stop', name).ok()
    return it.stopped(name)

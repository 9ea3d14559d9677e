"""Swarm: services of replicas, on a daemon whose default is the runtime."""
import inside
from harness import Skip, check, within

from . import BOX, flow


class Service:
    """A service on a daemon of its own."""

    def __init__(self, it, replicas, *options):
        it.own_daemon()
        begun = it.docker('swarm', 'init', '--advertise-addr', '127.0.0.1')
        if begun.status != 0:
            raise Skip(f'swarm cannot start here: {begun.err.strip()}')
        self.it = it
        made = it.docker('service', 'create', '--detach', '--name', 'many', '--network', 'host', '--replicas', str(replicas),
                         '--no-resolve-image', *options, BOX, *inside.IDLE)
        check(made.status == 0, made.err)
        within(30, lambda: len(self.running()) == replicas, f'{replicas} replicas')

    def running(self, show='{{.ID}}'):
        return self.it.docker('ps', '--format', show, '--filter', 'label=com.docker.swarm.service.name=many').out.split()

    def end(self):
        self.it.docker('service', 'rm', 'many').ok()
        within(30, lambda: not self.running(), 'none')
        self.it.docker('swarm', 'leave', '--force').ok()


@flow('swarm: three replicas, one is killed', fast=False)
def _(it):
    service = Service(it, 3)
    before = service.running()
    it.docker('kill', before[0]).ok()
    within(30, lambda: len(service.running()) == 3 and before[0] not in service.running(), 'a new one for the one that was killed')
    check(set(before[1:]) <= set(service.running()), 'the others were left alone')
    service.end()


@flow('swarm: scaled from three to five and back to one', fast=False)
def _(it):
    service = Service(it, 3)
    it.docker('service', 'scale', '--detach', 'many=5').ok()
    within(30, lambda: len(service.running()) == 5, 'five replicas')
    it.docker('service', 'scale', '--detach', 'many=1').ok()
    within(30, lambda: len(service.running()) == 1, 'one replica')
    service.end()


@flow('swarm: rolled to a new image', fast=False)
def _(it):
    service = Service(it, 3, '--update-delay', '0s', '--stop-grace-period', '2s')
    it.docker('tag', BOX, 'box:two').ok()
    it.docker('service', 'update', '--detach', '--no-resolve-image', '--image', 'box:two', 'many').ok()
    within(60, lambda: service.running('{{.Image}}') == ['box:two'] * 3, 'three of the new image')
    service.end()


@flow('swarm: limits, a secret, a configuration', fast=False)
def _(it):
    it.engine.shared_file('secret', 'hidden\n')
    service = Service(it, 1, '--limit-memory', '64m', '--limit-cpu', '0.5')
    for kind in ('secret', 'config'):
        it.docker(kind, 'create', 'told', it.engine.shared + '/secret').ok()
        it.docker('service', 'update', '--detach', '--no-resolve-image', f'--{kind}-add', 'source=told,target=/told-' + kind, 'many').ok()
    def seen():
        return [it.docker('exec', name, 'sh', '-c', 'cat /told-secret /told-config').out for name in service.running()]
    within(30, lambda: seen() == ['hidden\nhidden\n'], 'both are there')
    limits = service.it.inspect(service.running()[0], '.HostConfig.Memory')
    check(limits == str(64 << 20), limits)
    service.end()

"""Docker with the systemd driver, as Debian's unit starts it."""
import json
import os

from harness import Engine, Flows, call, check, within

from . import BOX, IDLE, SLOW, apparmor, plain, reaches, sh, shown

flow = Flows()


class Docker(Engine):
    name, usual = 'docker, managed', 'runc'

    def start(self):
        settings(self.runtimes)

    def call(self, *words, **more):
        return call('docker', *words, timeout=SLOW, **more)

    def client(self, runtime):
        return Client(self, runtime)

    def clean(self, client):
        made = self.call('ps', '-aq').out.split()
        if made:
            self.call('rm', '-f', '-v', *made)

    def stop(self):
        sh('systemctl stop docker docker.socket containerd')


def settings(runtimes):
    os.makedirs('/etc/docker', exist_ok=True)
    with open('/etc/docker/daemon.json', 'w') as file:
        others = {name: {'path': path} for name, path in runtimes.items() if name != 'runc'}
        json.dump({'runtimes': others, 'exec-opts': ['native.cgroupdriver=systemd'],
                   'experimental': True, 'live-restore': True}, file)
    sh('systemctl start docker')


class Client:
    def __init__(self, engine, runtime):
        self.engine, self.runtime = engine, runtime

    def run(self, *words):
        return self.engine.call('run', '--rm', '--runtime', self.runtime, '--network', 'none', *words)

    def up(self, *options, command=IDLE):
        name = self.engine.call('run', '-d', '--runtime', self.runtime, '--network', 'none', *options, BOX, *command).ok()
        if command is IDLE:
            within(SLOW, lambda: 'ready' in self.engine.call('logs', name).out, 'the first process is up')
        return name

    def inspect(self, name, path):
        return self.engine.call('inspect', '-f', '{{%s}}' % path, name).ok()


LIMITS = 'cd /sys/fs/cgroup && cat memory.max memory.swap.max cpu.max pids.max io.weight cpu.weight 2>/dev/null'
# 512 shares as a weight: on runc's older straight line, and on the curve that it, crun and systemd took up later.
WEIGHTS = ('20', '59')


def limits(it, name):
    *seen, weight = it.engine.call('exec', name, 'sh', '-c', LIMITS).ok().split('\n')
    check(weight in WEIGHTS, f'cpu.weight {weight}')
    return seen


@flow('limits in a scope; update, stats, pause, stop')
def _(it):
    name = it.up('--memory', '64m', '--memory-swap', '96m', '--cpus', '0.5', '--cpu-shares', '512', '--pids-limit', '50')
    scope = f'docker-{name}.scope'
    seen = [limits(it, name), shown(scope, 'MemoryMax', 'TasksMax', 'CPUQuotaPerSecUSec', 'Slice')]
    it.engine.call('update', '--memory', '128m', '--memory-swap', '256m', name).ok()
    seen += [limits(it, name), shown(scope, 'MemoryMax')]
    check(it.engine.call('stats', '--no-stream', '--format', '{{.MemUsage}} {{.PIDs}}', name).ok().split('/')[1].split()[0] == '128MiB', 'stats')
    it.engine.call('pause', name).ok()
    check(it.inspect(name, '.State.Status') == 'paused', 'paused')
    it.engine.call('unpause', name).ok()
    it.engine.call('stop', '-t', '60', name).ok()
    check(shown(scope, 'ActiveState')['ActiveState'] == 'inactive', 'the scope is gone')
    return seen, it.inspect(name, '.State.ExitCode')


@flow('killed for its memory')
def _(it):
    hog = 'x=aaaaaaaa; while :; do x=$x$x; done'
    it.engine.call('run', '--runtime', it.runtime, '--name', 'hog', '--network', 'none', '--memory', '16m', BOX, 'sh', '-c', hog)
    return it.inspect('hog', '.State.OOMKilled'), it.inspect('hog', '.State.ExitCode')


@flow('--cgroup-parent SLICE, --cgroupns host and private')
def _(it):
    name = it.up('--cgroup-parent', 'tare-test.slice', '--cgroupns', 'host')
    seen = [shown(f'docker-{name}.scope', 'Slice'), it.engine.call('exec', name, 'cat', '/proc/self/cgroup').ok()]
    seen.append(it.run('--cgroupns', 'private', BOX, 'cat', '/proc/self/cgroup').ok())
    check(seen[0] == {'Slice': 'tare-test.slice'} and seen[2] == '0::/', f'{seen}')
    return plain(str(seen))


@flow('AppArmor: the default profile, none, one of ours, one that is missing')
def _(it):
    seen, status = apparmor(it)
    check(seen[0] == 'docker-default (enforce)', f'{seen}')
    return seen, status


@flow('--privileged, real-time limits, --oom-score-adj')
def _(it):
    show = 'ulimit -r; cat /proc/self/attr/current /proc/self/oom_score_adj; grep Cap /proc/self/status; ls /dev | wc -l'
    return it.run('--privileged', '--ulimit', 'rtprio=50:50', '--oom-score-adj', '-500', BOX, 'sh', '-c', show).ok()


@flow('--device: the rule that lets it in')
def _(it):
    show = 'head -c 16 /dev/fuse 2>&1 | sed "s/.*: //"; mknod /dev/other c 1 11 && head -c 1 /dev/other 2>&1 | sed "s/.*: //"'
    seen = it.run('--device', '/dev/fuse:/dev/fuse:r', BOX, 'sh', '-c', show).ok()
    check('Operation not permitted' in seen.splitlines()[-1], seen)
    return seen


@flow('systemctl reload, then dockerd is killed: the container lives')
def _(it):
    name = it.up()
    pid = it.inspect(name, '.State.Pid')
    sh('systemctl reload docker; systemctl kill -s KILL --kill-who main docker')
    reaches('docker.service', 'active')
    within(SLOW, lambda: it.engine.call('version').status == 0, 'dockerd answers')
    check(it.inspect(name, '.State.Pid') == pid, 'the same process')
    check(it.engine.call('exec', name, 'echo', 'again').ok() == 'again', 'exec')
    it.engine.call('stop', '-t', '60', name).ok()
    return it.inspect(name, '.State.ExitCode')


@flow('bridge network, a published port')
def _(it):
    served = ('sh', '-c', 'mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www')
    name = it.engine.call('run', '-d', '--runtime', it.runtime, '-p', '127.0.0.1:18085:80', BOX, *served).ok()
    address = it.inspect(name, '.NetworkSettings.IPAddress')
    within(SLOW, lambda: 'served' in call('busybox', 'wget', '-qO-', 'http://127.0.0.1:18085/').out, 'through the port')
    within(SLOW, lambda: 'served' in it.engine.call('run', '--rm', '--runtime', it.runtime, BOX, 'wget', '-qO-', f'http://{address}/').out, 'from another')

"""Podman with the systemd manager, as root and without: scopes, services, sockets, timers."""
import os
import socket

from harness import Engine, Flows, Skip, call, check, within

from . import BOX, IDLE, PROBE, SLOW, apparmor, install, plain, reaches, sh, shown

flow = Flows()
CONFIG = '/etc/containers/containers.conf.d/tare.conf'


class Podman(Engine):
    name, usual = 'podman, managed', 'crun'

    def start(self):
        settings(self.runtimes)

    def call(self, *words, **more):
        return call('podman', *words, timeout=SLOW, **more)

    def client(self, runtime):
        return Client(self, runtime)

    def clean(self, client):
        for unit in client.units:
            call('systemctl', 'stop', unit, timeout=SLOW)
            os.unlink(f'/run/systemd/system/{unit}')
        if client.pods:
            self.call('pod', 'rm', '-fa', '-t', '0')
        self.call('rm', '-fa', '-t', '0')


def settings(runtimes):
    """As docs/engines.md has it."""
    os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
    with open(CONFIG, 'w') as file:
        file.write('[engine]\nruntime_supports_json = ["crun", "runc", "tare"]\nruntime_supports_nocgroup = ["crun", "tare"]\n'
                   f'[engine.runtimes]\ntare = ["{runtimes["tare"]}"]\n')


class Client:
    def __init__(self, engine, runtime):
        self.engine, self.runtime, self.units, self.pods = engine, runtime, [], False

    def podman(self, *words, **more):
        return self.engine.call('--runtime', self.runtime, *words, **more)

    def run(self, *words):
        return self.podman('run', '--rm', '--network', 'none', *words)

    def up(self, *options, command=IDLE):
        """A detached container that is ready: its id."""
        name = self.podman('run', '-d', '--network', 'none', *options, BOX, *command).ok()
        if command is IDLE:
            within(SLOW, lambda: 'ready' in self.engine.call('logs', name).out, 'the first process is up')
        return name

    def inspect(self, name, path):
        return self.engine.call('inspect', '-f', '{{%s}}' % path, name).ok()

    def serve(self, unit, text):
        install(unit, text)
        self.units.append(unit)

    def service(self, name, *options, command, more=()):
        """A container as the service that `podman generate systemd --new` makes of it."""
        self.podman('create', '--network', 'none', '--name', name, *options, BOX, *command).ok()
        self.serve(f'container-{name}.service', self.engine.call('generate', 'systemd', '--new', '--name', *more, name).ok())
        self.engine.call('rm', name).ok()
        sh('systemctl daemon-reload')
        return f'container-{name}.service'


@flow('limits in a scope; update, stats, pause, stop')
def _(it):
    name = it.up('-m', '64m', '--cpus', '0.5', '--pids-limit', '50')
    scope = f'libpod-{name}.scope'
    # The limits too are systemd's to know; crun 1.8 keeps them from it.
    seen = [shown(scope, 'Slice', 'ActiveState'), it.podman('stats', '--no-stream', '--format', '{{.MemUsage}}', name).ok().split('/')[1]]
    check(it.runtime != 'tare' or shown(scope, 'MemoryMax', 'TasksMax') == {'MemoryMax': str(64 << 20), 'TasksMax': '50'}, 'known')
    it.podman('update', '--memory', '128m', '--cpus', '1', name).ok()
    seen.append(it.podman('exec', name, 'sh', '-c', 'cd /sys/fs/cgroup && cat memory.max cpu.max pids.max').ok())
    it.podman('pause', name).ok()
    check(it.inspect(name, '.State.Status') == 'paused', 'paused')
    it.podman('unpause', name).ok()
    it.podman('stop', '-t', '60', name).ok()
    within(SLOW, lambda: shown(scope, 'ActiveState')['ActiveState'] == 'inactive', 'the scope is gone')
    return seen, it.inspect(name, '.State.ExitCode')


@flow('killed for its memory')
def _(it):
    hog = 'x=aaaaaaaa; while :; do x=$x$x; done'
    it.podman('run', '--network', 'none', '--name', 'hog', '--memory', '16m', BOX, 'sh', '-c', hog)
    check(it.inspect('hog', '.State.ExitCode') == '137', 'the status of a kill')
    return it.inspect('hog', '.State.OOMKilled')


@flow('--cgroups=split in a service')
def _(it):
    line = (f'systemd-run -q --wait --pipe --collect --unit split-{it.runtime} -p Delegate=yes podman --runtime {it.runtime} run --rm '
            f'--network none --cgroups=split --cgroupns=host -m 64m {BOX} sh -c "cat /proc/self/cgroup; cat /sys/fs/cgroup/$(:)'
            f'\\$(sed s,^0::/,, /proc/self/cgroup)/memory.max"')
    seen = plain(sh(line)).replace(it.runtime, 'RUNTIME')
    check('split-RUNTIME.service/libpod-payload-ID' in seen and str(64 << 20) in seen, seen)
    return seen


@flow('--cgroups=no-conmon, --cgroup-parent SLICE')
def _(it):
    name = it.up('--cgroups=no-conmon', '--cgroup-parent', 'tare-test.slice')
    check(shown(f'libpod-{name}.scope', 'Slice')['Slice'] == 'tare-test.slice', 'the slice')
    with open(f'/proc/{it.inspect(name, ".State.Pid")}/cgroup') as file:
        return plain(file.read()).replace('.scope/container', '.scope')  # crun's processes are one group below


@flow('generate systemd --new: started, killed and started again, stopped')
def _(it):
    unit = it.service('web', command=IDLE, more=('--restart-policy', 'always'))
    sh(f'systemctl start {unit}')
    seen = [shown(unit, 'ActiveState', 'Type', 'NotifyAccess')]
    first, main = it.inspect('web', '.State.Pid'), shown(unit, 'MainPID')['MainPID']
    with open(f'/proc/{main}/comm') as file:
        check(file.read() == 'conmon\n', 'conmon is the main process')
    sh(f'kill -KILL {first}')
    within(SLOW, lambda: shown(unit, 'NRestarts', 'ActiveState') == {'NRestarts': '1', 'ActiveState': 'active'}, 'again')
    check(it.inspect('web', '.State.Pid') != first, 'another process')
    sh(f'systemctl stop {unit}')
    seen.append(shown(unit, 'ActiveState', 'Result', 'ExecMainStatus'))
    check(it.engine.call('ps', '-aq').ok() == '', 'the container is gone')
    return seen


@flow('--sdnotify=container: the unit is active when the container says so')
def _(it):
    waits = 'while ! [ -e /tmp/go ]; do sleep 0.5; done; exec probe notify READY=1'
    unit = it.service('says', '--sdnotify=container', *PROBE, command=('sh', '-c', waits))
    sh(f'systemctl start --no-block {unit}')
    within(SLOW, lambda: it.engine.call('exec', 'says', 'true').status == 0, 'the container runs')
    check(shown(unit, 'ActiveState')['ActiveState'] == 'activating', 'not active yet')
    it.engine.call('exec', 'says', 'touch', '/tmp/go').ok()
    reaches(unit, 'active')
    sh(f'systemctl stop {unit}')
    return shown(unit, 'ActiveState', 'Result')


@flow('socket activation: the first client starts the container, and it answers')
def _(it):
    path = f'/run/answers-{it.runtime}.sock'
    it.serve('answers.service', f'[Service]\nExecStart=/usr/bin/podman --runtime {it.runtime} run --rm --network none '
             f'{" ".join(PROBE)} {BOX} probe accept\nNotifyAccess=all\n')
    it.serve('answers.socket', f'[Socket]\nListenStream={path}\n')
    sh('systemctl daemon-reload; systemctl start answers.socket')
    check(shown('answers.service', 'ActiveState')['ActiveState'] == 'inactive', 'nobody has asked')
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SLOW)
        client.connect(path)
        answer = client.recv(100).decode()
    check(answer == '1 own\n', f'{answer!r}')


@flow('a pod as units: both containers live and end with it')
def _(it):
    it.pods = True
    infra = ('--infra-command', '/bin/sleep 1000', '--infra-image', BOX)
    it.podman('pod', 'create', '--name', 'group', '--network', 'none', '--share', 'net,ipc,uts,pid', *infra).ok()
    for name in ('one', 'two'):
        it.podman('create', '--pod', 'group', '--name', name, BOX, *IDLE).ok()
    call('podman', 'generate', 'systemd', '--name', '--files', 'group', cwd='/run/systemd/system', timeout=SLOW).ok()
    units = ['pod-group.service', 'container-one.service', 'container-two.service']
    it.units += units
    sh('systemctl daemon-reload; systemctl start pod-group.service')
    reaches('container-two.service', 'active')
    check(it.engine.call('exec', 'one', 'ps', '-o', 'args').out.count('while') == 2, 'one sees the other')
    sh('systemctl stop pod-group.service')
    return [shown(unit, 'ActiveState') for unit in units]


@flow('healthcheck by a timer of systemd')
def _(it):
    name = it.up('--health-cmd', 'test -e /tmp/well', '--health-interval', '3s', '--health-start-period', '600s')
    check(name in sh('systemctl list-timers --all --no-legend --full'), 'there is a timer')
    it.podman('exec', name, 'touch', '/tmp/well').ok()
    within(SLOW, lambda: it.inspect(name, '.State.Health.Status') == 'healthy', 'healthy')


@flow('AppArmor: the default profile, none, one of ours, one that is missing')
def _(it):
    (default, *rest), status = apparmor(it)
    check(default.startswith('containers-default-') and default.endswith(' (enforce)'), default)
    return default, rest, status


@flow('quadlet')
def _(it):
    generator = '/usr/lib/systemd/system-generators/podman-system-generator'
    if not os.path.exists(generator):
        raise Skip(f'{it.engine.call("--version").ok()} has none: it came with 4.4')
    with open('/etc/containers/systemd/quad.container', 'w') as file:
        file.write(f'[Container]\nImage={BOX}\nExec=sleep 1000\nPodmanArgs=--runtime {it.runtime}\n')
    sh('systemctl daemon-reload; systemctl start quad.service; systemctl stop quad.service')


@flow('without root: limits in a scope of the user\'s manager')
def _(it):
    run = f'as-tester podman --runtime {it.runtime} run --rm --network none'
    group = plain(sh(f'{run} --cgroupns=host {BOX} cat /proc/self/cgroup')).replace('.scope/container', '.scope')
    check('/user@1000.service/' in group and group.endswith('libpod-ID.scope'), group)
    return group, sh(f'{run} -m 64m --pids-limit 50 {BOX} sh -c "cd /sys/fs/cgroup && cat memory.max pids.max"')


@flow('without root: generate systemd --new, as a service of the user\'s')
def _(it):
    script = f'''set -e
        podman --runtime {it.runtime} create --network none --name mine {BOX} sh -c 'trap "exit 3" TERM; while :; do sleep 1; done'
        mkdir -p ~/.config/systemd/user && cd ~/.config/systemd/user
        podman generate systemd --new --name --files mine && podman rm mine
        systemctl --user daemon-reload && systemctl --user start container-mine
        systemctl --user is-active container-mine
        podman exec mine cat /proc/self/uid_map
        podman inspect -f '{{{{.OCIRuntime}}}}' mine
        systemctl --user stop container-mine
        systemctl --user show -p ActiveState,Result container-mine
        podman ps -aq'''
    return plain(call('as-tester', 'bash', '-c', script, timeout=SLOW).ok()).replace(it.runtime, 'RUNTIME')

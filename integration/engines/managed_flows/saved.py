"""What is checkpointed and restored, by each engine; and containerd with the systemd driver."""
import os
import shutil

from harness import Engine, Flows, call, cgroups, check, within

from . import BOX, COUNTS, SLOW, docker, podman, sh, shown

flow = Flows()
IMAGE = 'docker.io/library/busybox:latest'


class Saved(Engine):
    name, usual = 'checkpoint and containerd', 'runc'

    def start(self):
        podman.settings(self.runtimes)
        docker.settings(self.runtimes)
        self.ctr('images', 'import', '/opt/busybox.tar').ok()

    @staticmethod
    def ctr(*words, **more):
        return call('ctr', '-n', 'test', *words, timeout=SLOW, **more)

    @staticmethod
    def podman(*words, **more):
        return call('podman', *words, timeout=SLOW, **more)

    @staticmethod
    def docker(*words, **more):
        return call('docker', *words, timeout=SLOW, **more)

    def client(self, runtime):
        return Client(self, runtime)

    def clean(self, client):
        self.podman('rm', '-fa', '-t', '0')
        made = self.docker('ps', '-aq').out.split()
        if made:
            self.docker('rm', '-f', '-v', *made)
        for name in client.tasks:
            self.ctr('task', 'kill', '-s', 'KILL', name)
            self.ctr('task', 'delete', '--force', name)
            self.ctr('container', 'delete', name)

    def stop(self):
        sh('systemctl stop docker docker.socket containerd')


class Client:
    def __init__(self, engine, runtime):
        self.engine, self.runtime, self.tasks = engine, runtime, []
        self.podman, self.docker, self.ctr = engine.podman, engine.docker, engine.ctr

    def scratch(self, name):
        path = f'{self.engine.work}/{name}-{self.runtime}'
        shutil.rmtree(path, ignore_errors=True)
        return path


def counts(run, past=2):
    """Waits until it counts past that; how far it is. `run` executes a command in the container."""
    count = lambda: int(run('cat', '/tmp/n').out.strip() or 0)  # noqa: E731
    return within(SLOW, lambda: (lambda n: n if n > past else 0)(count()), f'counts past {past}')


@flow('podman container checkpoint, restore: it counts on')
def _(it):
    name = it.podman('--runtime', it.runtime, 'run', '-d', '--network', 'none', '-m', '64m', BOX, *COUNTS).ok()
    inside = lambda *words: it.podman('exec', name, *words)  # noqa: E731
    before = counts(inside)
    it.podman('container', 'checkpoint', name).ok()
    seen = [it.podman('inspect', '-f', '{{.State.Status}} {{.State.Checkpointed}}', name).ok()]
    it.podman('container', 'restore', name).ok()
    counts(inside, before)
    seen.append(inside('cat', '/sys/fs/cgroup/memory.max').ok())
    seen.append(shown(f'libpod-{name}.scope', 'ActiveState', 'Slice'))
    it.podman('stop', '-t', '0', name).ok()
    return seen, it.podman('inspect', '-f', '{{.State.ExitCode}}', name).ok()


@flow('podman checkpoint --leave-running --export, restore --import under another name')
def _(it):
    path = it.scratch('export') + '.tar.gz'
    name = it.podman('--runtime', it.runtime, 'run', '-d', '--network', 'none', BOX, *COUNTS).ok()
    before = counts(lambda *words: it.podman('exec', name, *words))
    it.podman('container', 'checkpoint', '--leave-running', '--export', path, name).ok()
    counts(lambda *words: it.podman('exec', name, *words), before)
    it.podman('--runtime', it.runtime, 'container', 'restore', '--import', path, '--name', 'again').ok()
    counts(lambda *words: it.podman('exec', 'again', *words), before)
    return [it.podman('inspect', '-f', '{{.State.Status}}', each).ok() for each in (name, 'again')]


@flow('podman checkpoint --pre-checkpoint, then --with-previous')
def _(it):
    name = it.podman('--runtime', it.runtime, 'run', '-d', '--network', 'none', BOX, *COUNTS).ok()
    inside = lambda *words: it.podman('exec', name, *words)  # noqa: E731
    before = counts(inside)
    it.podman('container', 'checkpoint', '--pre-checkpoint', name).ok()
    before = counts(inside, before)
    it.podman('container', 'checkpoint', '--with-previous', '--file-locks', name).ok()
    it.podman('container', 'restore', '--file-locks', name).ok()
    counts(inside, before)


@flow('docker checkpoint create, start --checkpoint')
def _(it):
    name = it.docker('run', '-d', '--runtime', it.runtime, '--network', 'none', '--security-opt', 'seccomp=unconfined', BOX, *COUNTS).ok()
    inside = lambda *words: it.docker('exec', name, *words)  # noqa: E731
    before = counts(inside)
    it.docker('checkpoint', 'create', name, 'one').ok()
    within(SLOW, lambda: it.docker('inspect', '-f', '{{.State.Status}}', name).ok() == 'exited', 'it has ended')
    seen = it.docker('checkpoint', 'ls', name).ok().split()
    it.docker('start', '--checkpoint', 'one', name).ok()
    counts(inside, before)
    return seen


@flow('docker checkpoint create --leave-running')
def _(it):
    name = it.docker('run', '-d', '--runtime', it.runtime, '--network', 'none', BOX, *COUNTS).ok()
    inside = lambda *words: it.docker('exec', name, *words)  # noqa: E731
    before = counts(inside)
    it.docker('checkpoint', 'create', '--leave-running', name, 'one').ok()
    counts(inside, before)


def begin(it, *options, command=COUNTS):
    name = f'ctr-{it.runtime}'
    it.tasks.append(name)
    it.ctr('run', '-d', '--null-io', '--runc-binary', it.engine.runtimes[it.runtime], *options, IMAGE, name, *command).ok()
    return name


def inside(it, name):
    state = {'n': 0}

    def run(*words):
        state['n'] += 1
        return it.ctr('task', 'exec', '--exec-id', f'e{state["n"]}', name, *words)
    return run


@flow('ctr run with the systemd driver: limits, pause, kill')
def _(it):
    name = begin(it, '--runc-systemd-cgroup', '--cgroup', f'tare-test.slice:ctr:{it.runtime}', '--memory-limit', str(64 << 20), '--cpus', '0.5')
    seen = [shown(f'ctr-{it.runtime}.scope', 'Slice', 'MemoryMax', 'CPUQuotaPerSecUSec', 'ActiveState')]
    check(seen[0]['MemoryMax'] == str(64 << 20), f'{seen}')
    it.ctr('task', 'pause', name).ok()
    it.ctr('task', 'resume', name).ok()
    counts(inside(it, name))
    it.ctr('task', 'kill', '-s', 'KILL', '--all', name).ok()
    within(SLOW, lambda: 'STOPPED' in it.ctr('task', 'ls').out, 'it has stopped')
    check('exit code 137' in it.ctr('task', 'delete', name).err, 'the status of a kill')
    check(shown(f'ctr-{it.runtime}.scope', 'ActiveState')['ActiveState'] == 'inactive', 'the scope is gone')
    return seen


@flow('ctr task checkpoint --image-path, --exit')
def _(it):
    path = it.scratch('images')
    os.makedirs(path)
    name = begin(it)
    before = counts(inside(it, name))
    it.ctr('task', 'checkpoint', '--image-path', path, name).ok()
    files = sorted(os.listdir(path))
    check('core-1.img' in files and 'inventory.img' in files, f'{files}')
    counts(inside(it, name), before)
    it.ctr('task', 'checkpoint', '--exit', '--image-path', path, name).ok()
    within(SLOW, lambda: 'STOPPED' in it.ctr('task', 'ls').out, 'it has ended')
    # Of what there is only one. How many tmpfs a container has is the runtime's choice: masks may share theirs.
    return [file for file in files if not file.startswith(('pages', 'pagemap', 'core', 'mm', 'ids', 'fs', 'timens', 'tmpfs-dev'))]


@flow('ctr container checkpoint --task, restore --live: it counts on')
def _(it):
    name = begin(it)
    before = counts(inside(it, name))
    reference = f'docker.io/test/saved-{it.runtime}:latest'
    it.ctr('container', 'checkpoint', '--rw', '--image', '--task', name, reference).ok()
    it.ctr('task', 'kill', '-s', 'KILL', name).ok()
    within(SLOW, lambda: 'STOPPED' in it.ctr('task', 'ls').out, 'it has ended')
    it.ctr('task', 'delete', name)
    it.ctr('container', 'delete', name).ok()
    it.ctr('container', 'restore', '--rw', '--live', name, reference).ok()
    counts(inside(it, name), before)
    return it.ctr('task', 'ls').ok().split()[-1]


@flow('nothing is left of them')
def _(it):
    check(not cgroups('tare-test.slice/ctr-tare.scope'), 'no group')
    return sh('systemctl list-units --plain --no-legend "libpod-*.scope" "docker-*.scope" "ctr-*.scope"')

"""Docker, started by hand with directories of its own, and its command line with one runtime."""
import json
import os
import re
import shutil

import image
import inside
from harness import DEBIAN_PATH, Engine, Failed, Flows, Skip, call, cgroups, check, end, within

flow = Flows()
BOX = 'box:latest'
IDLE = inside.IDLE


# What only looks is no step: it is asked again and again until something is so.
LOOKS = ('inspect', 'logs', 'ps', 'version', 'events', 'network', 'rmi')


class Docker(Engine):
    name, usual, shims = 'docker', 'runc', True
    program = 'docker'
    sample = r'^(run|exit|exec|-t|-d|memory|seccomp=|bridge|masked|namespaces of the d|pause|--annot|--mount bind-rec|--device v|docker build)'

    @staticmethod
    def arguments(parser):
        parser.add_argument('--restarts', action='store_true',
                            help='kill dockerd before every step, and start it again')

    def start(self):
        self.binary = shutil.which('docker', path=DEBIAN_PATH)
        self.group = os.path.basename(self.work)  # every container's cgroup is below it
        self.shared = self.work + '/shared'
        os.mkdir(self.shared)
        self.archive = image.archive(self.work, BOX)
        options = ['--live-restore'] if getattr(self.options, 'restarts', False) else []
        # A daemon has one containerd-shim-runc-v2 for all of its runtimes.
        self.mains = {name: Daemon(self, 'main-' + name, name, *options) for name in (self.runtimes if self.shim else ('usual',))}

    def main(self, runtime):
        return self.mains.get(runtime) or self.mains['usual']

    def shared_file(self, name, text):
        """A file on the host that containers can be given."""
        with open(f'{self.shared}/{name}', 'w') as file:
            file.write(text)

    def client(self, runtime):
        return Client(self, runtime)

    def clean(self, client):
        for daemon in client.daemons:
            daemon.stop()
        made = client.docker('ps', '-aq', '--filter', 'label=by=' + client.runtime).out.split()
        if made:
            client.docker('rm', '-f', '-v', *made)


class Daemon:
    """A dockerd with directories of its own, and the image in it."""

    def __init__(self, engine, name, runtime, *options, env=None):
        self.engine, self.options, self.home = engine, options, f'{engine.work}/{name}'
        self.env, self.named = self.of_shim() if engine.shim and runtime == 'shim' else (None, ())
        if env:
            self.env = dict(self.env or os.environ, **env)
        os.makedirs(self.home, exist_ok=True)
        os.chmod(self.home, 0o711)
        self.base = (engine.binary, '-H', f'unix://{self.home}/docker.sock')
        self.begin()
        call(*self.base, 'load', '-i', engine.archive, timeout=120).ok()

    def of_shim(self):
        """The environment and the options for the given shim: by its name from 24 on, before that in the place of the
        only one that there is."""
        if int(re.search(r'version (\d+)', call('dockerd', '--version').ok())[1]) < 24:
            return dict(os.environ, PATH=self.engine.shim_path('containerd-shim-runc-v2')), ()
        self.engine.shared_file('runtimes.json', json.dumps({'runtimes': {'shim': {'runtimeType': 'io.containerd.tare.v2'}}}))
        return (dict(os.environ, PATH=self.engine.shim_path()),
                ('--config-file', self.engine.shared + '/runtimes.json', '--add-runtime', f'go={self.engine.runtimes["go"]}'))

    def begin(self):
        """As a service manager does it: once more, where dockerd took a containerd that was just dying for a living one."""
        runtimes = self.named or [word for name, path in self.engine.runtimes.items() if name != 'runc'
                                  for word in ('--add-runtime', f'{name}={path}')]
        for chance in (1, 2, 3):
            self.process = self.engine.daemon(
                'dockerd', '--host', f'unix://{self.home}/docker.sock', '--data-root', self.home + '/data',
                '--exec-root', self.home + '/exec', '--pidfile', self.home + '/dockerd.pid',
                '--cgroup-parent', '/' + self.engine.group, '--exec-opt', 'native.cgroupdriver=cgroupfs', *runtimes, *self.options, env=self.env)
            try:
                within(60, self.answers, 'dockerd answers')
                return
            except Failed:
                if chance == 3 or self.process.poll() is None or not self.mistook_containerd():
                    raise

    def mistook_containerd(self):
        """dockerd 20.10 looks for the process only, which is there until it is reaped, and waits for its socket in vain."""
        with open(self.engine.work + '/dockerd.log', errors='replace') as file:
            return 'timeout waiting for containerd to start' in file.readlines()[-1]

    def answers(self):
        check(self.process.poll() is None, f'dockerd has ended with status {self.process.poll()}')
        return call(*self.base, 'version').status == 0

    def kill(self):
        """The daemon dies without a word; its containerd and the containers go on."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        end(self.process)


class Client:
    """The docker command line, with one runtime."""

    def __init__(self, engine, runtime):
        self.engine, self.runtime = engine, runtime
        self.base = engine.main(runtime).base
        self.daemons = []

    def own_daemon(self, *options, env=None):
        """A further dockerd, whose default is this runtime; from here on, the commands go there."""
        daemon = Daemon(self.engine, f'{self.runtime}-{len(os.listdir(self.engine.work))}', self.runtime,
                        '--bridge', 'none', '--default-runtime', self.runtime, *options, env=env)
        self.daemons.append(daemon)
        self.base = daemon.base
        return daemon

    def docker(self, *words, **more):
        if getattr(self.engine.options, 'restarts', False) and not self.daemons and words[0] not in LOOKS:
            self.engine.main(self.runtime).kill()
            self.engine.main(self.runtime).begin()
        return call(*self.base, *words, **more)

    def words(self, *options):
        """`run` with this runtime, and no network unless one is asked for: most flows need none, and it is faster."""
        network = () if any(str(word).startswith('--net') for word in options) else ('--network', 'none')
        return ('run', '--runtime', self.runtime, '--label', 'by=' + self.runtime, *network, *options)

    def run(self, *options, **more):
        return self.docker(*self.words('--rm', *options), **more)

    def box(self, *command, options=()):
        """What a command prints in a fresh container."""
        return self.run(*options, BOX, *command).ok()

    def up(self, *options, command=IDLE):
        """A detached container that is ready: its id."""
        name = self.docker(*self.words('-d', *options), BOX, *command).ok()
        if command is IDLE:
            within(20, lambda: 'ready' in self.docker('logs', name).out, 'the first process is up')
        return name

    def inspect(self, name, path):
        return self.docker('inspect', '-f', '{{json %s}}' % path, name).ok()

    def status(self, name):
        return json.loads(self.inspect(name, '.State.Status'))

    def stopped(self, name):
        within(20, lambda: self.status(name) == 'exited', 'the container has stopped')
        return json.loads(self.inspect(name, '.State.ExitCode'))

    def limit(self, name, v1, v2):
        """A cgroup file of the container, read from the host: `controller/file` or its v2 name."""
        for directory in cgroups(f'{self.engine.group}/{name}'):
            for file in (os.path.basename(v1), v2):
                path = os.path.join(directory, file)
                if os.path.exists(path) and ('/' + v1.split('/')[0] + '/' in path or file == v2):
                    with open(path) as opened:
                        return opened.read().strip()
        raise Skip(f'no cgroup controller {v1.split("/")[0]} on this machine')

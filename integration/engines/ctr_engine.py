"""containerd without CRI, and ctr with one runtime."""
import os
import shutil

import image
import inside
from harness import DEBIAN_PATH, Engine, Flows, call, check, version, within

flow = Flows()
BOX = 'docker.io/library/box:latest'


class Containerd(Engine):
    name, usual, shims = 'ctr', 'runc', True
    program = 'containerd'
    sample = r'^(run|exec|-t|exit|erofs)'

    def start(self):
        self.binary = shutil.which('ctr', path=DEBIAN_PATH)
        self.socket = self.work + '/containerd.sock'
        self.shared = self.work + '/shared'
        self.group = os.path.basename(self.work)
        os.mkdir(self.shared)
        config = self.work + '/config.toml'
        with open(config, 'w') as file:
            file.write(f'version = 2\nroot = "{self.work}/root"\nstate = "{self.work}/state"\n'
                       f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                       f'[grpc]\naddress = "{self.socket}"\n')
            if version('containerd') >= '2.1':  # it tries them in this order
                file.write('[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["erofs", "walking"]\n')
        process = self.daemon('containerd', '--config', config,
                              env=dict(os.environ, PATH=self.shim_path()) if self.shim else None)

        def answers():
            check(process.poll() is None, f'containerd has ended with status {process.poll()}')
            return self.ctr('version').status == 0
        within(60, answers, 'containerd answers')
        self.ctr('images', 'import', image.archive(self.work, BOX), timeout=120).ok()

    def ctr(self, *words, **more):
        return call(self.binary, '-a', self.socket, '-n', 'test', *words, **more)

    def client(self, runtime):
        return Client(self, runtime)

    def clean(self, client):
        for name in client.names:
            client.ctr('task', 'kill', '-s', 'KILL', name)
            client.ctr('task', 'delete', '--force', name)
            client.ctr('container', 'delete', name)


class Client:
    """ctr with one runtime."""
    count = 0

    def __init__(self, engine, runtime):
        self.engine, self.runtime = engine, runtime
        self.ctr = engine.ctr
        self.names = []

    def words(self, *options):
        """`run` up to the image, and the container's name."""
        Client.count += 1
        name = f'{self.runtime}-{Client.count}'
        self.names.append(name)
        runtime = ('--runtime', 'io.containerd.tare.v2') if self.runtime == 'shim' else (
            '--runc-binary', self.engine.runtimes[self.runtime], '--runc-root', f'{self.engine.work}/state-of-{self.runtime}')
        return name, ('run', *runtime, '--cgroup', f'/{self.engine.group}/{name}', *options, BOX, name)

    def run(self, *command, options=(), **more):
        _, words = self.words('--rm', *options)
        return self.ctr(*words, *command, **more)

    def box(self, *command, options=()):
        """What a command prints. ctr now and then loses what a process that ends at once has written: its Delete
        cancels the opening of a fifo that it has not got to yet. So nothing at all is asked for again."""
        for _ in range(3):
            said = self.run(*command, options=options).ok()
            if said:
                break
        return said

    def up(self, *options, command=inside.IDLE):
        name, words = self.words('-d', '--null-io', *options)
        self.ctr(*words, *command).ok()
        return name

    def exec(self, name, *command, options=(), **more):
        Client.count += 1
        return self.ctr('task', 'exec', '--exec-id', f'exec-{Client.count}', *options, name, *command, **more)

    def ready(self, name):
        """The first process has set its handlers."""
        within(10, lambda: 'sleep' in self.exec(name, 'ps', '-o', 'args').out, 'the first process is up')
        return name

    def task(self, name):
        """The row of `task ls`: process id and status."""
        for line in self.ctr('task', 'ls').ok().splitlines():
            if line.split()[0] == name:
                return line.split()[1:3]
        return None

"""Podman with storage of its own, and its command line with one runtime."""
import json
import os
import shutil

import image
import inside
from harness import DEBIAN_PATH, Engine, Flows, Skip, add_lines, call, cgroups, within

flow = Flows()
BOX = 'docker.io/library/box:latest'
# Debian's crun refuses a machine with both cgroup versions; its runc does not.
USUAL = 'crun' if os.path.exists('/sys/fs/cgroup/cgroup.controllers') else 'runc'


class Podman(Engine):
    name, usual = 'podman', USUAL
    program = 'podman'
    sample = r'^(run|exit|missing|exec|-t|mounts|masked|--network pasta|pod: shared|pod: --restart|quadlet|--secret:|--mount type=image:|container clone)'
    groups = True  # containers have cgroups, below the run's own

    def start(self):
        self.binary = shutil.which('podman', path=DEBIAN_PATH)
        self.group = os.path.basename(self.work)
        self.shared = self.work + '/shared'
        os.mkdir(self.shared)
        config = self.work + '/containers.conf'
        with open(config, 'w') as file:
            file.write(self.settings())
        self.env = dict(os.environ, CONTAINERS_CONF=config, TMPDIR=self.work, PODMAN_IGNORE_CGROUPSV1_WARNING='1')
        # Whose ids --userns=auto hands out; Podman 5 wants a user of that name.
        add_lines(self.work, passwd='containers:x:4320:4320::/:/bin/false\n', subuid='containers:500000:1000000\n', subgid='containers:500000:1000000\n')
        self.podman('load', '-i', image.archive(self.work, BOX), timeout=120).ok()

    def settings(self):
        """containers.conf: the runtimes by name, and which of them log as JSON and do without cgroups."""
        text = ('[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
                'runtime_supports_json = ["crun", "runc", "tare"]\nruntime_supports_nocgroup = ["crun", "tare"]\n'
                '[engine.runtimes]\n')
        return text + ''.join(f'{name} = ["{path}"]\n' for name, path in self.runtimes.items())

    def base(self):
        return (self.binary, '--root', self.work + '/root', '--runroot', self.work + '/run',
                '--tmpdir', self.work + '/tmp')

    def podman(self, *words, **more):
        return call(*self.base(), *words, env=self.env, **more)

    def client(self, runtime):
        return Client(self, runtime)

    def clean(self, client):
        client.podman('pod', 'rm', '-fa', '-t', '0')
        client.podman('rm', '-fa', '-t', '0')

    def stop(self):
        self.podman('rm', '-fa', '-t', '0')


class Client:
    """The podman command line, with one runtime."""

    def __init__(self, engine, runtime):
        self.engine, self.runtime = engine, runtime
        self.base = (*engine.base(), '--runtime', runtime)

    def podman(self, *words, **more):
        return call(*self.base, *words, env=self.engine.env, **more)

    def words(self, *options):
        """`run` with no network unless one is asked for."""
        options = tuple(str(word) for word in options)
        if not any(word.startswith(('--net', '--pod')) for word in options):
            options = ('--network', 'none', *options)
        if self.engine.groups and not any(word.startswith(('--pod', '--cgroup-parent', '--cgroups')) for word in options):
            options = ('--cgroup-parent', '/' + self.engine.group, *options)
        return ('run', *options)

    def pod(self, *options):
        """A pod whose infra container is of our image: it shares what Kubernetes' pods do, and the pid namespace."""
        parent = ('--cgroup-parent', '/' + self.engine.group) if self.engine.groups else ()
        return self.podman('pod', 'create', '--share', 'net,ipc,uts,pid', '--network', 'none', *parent, '--infra-command',
                           '/bin/sleep 1000', '--infra-image', BOX, *options).ok()

    def run(self, *options, **more):
        return self.podman(*self.words('--rm', *options), **more)

    def box(self, *command, options=()):
        return self.run(*options, BOX, *command).ok()

    def up(self, *options, command=inside.IDLE):
        name = self.podman(*self.words('-d', *options), BOX, *command).ok()
        if command is inside.IDLE:
            within(20, lambda: 'ready' in self.podman('logs', name).out, 'the first process is up')
        return name

    def inspect(self, name, path):
        return json.loads(self.podman('inspect', '-f', '{{json %s}}' % path, name).ok())

    def stopped(self, name):
        within(20, lambda: self.inspect(name, '.State.Status') == 'exited', 'the container has stopped')
        return self.inspect(name, '.State.ExitCode')

    def left(self, name):
        return cgroups(f'{self.engine.group}/libpod-{name}')

    def limit(self, name, v1, v2):
        for directory in self.left(name):
            for file in (v1, v2):
                if os.path.exists(os.path.join(directory, file)):
                    with open(os.path.join(directory, file)) as opened:
                        return opened.read().strip()
        raise Skip(f'no controller for {v2} on this machine')

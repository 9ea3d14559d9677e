"""A containerd for each of two shims, what they leave behind, and a shim without any containerd.

The two are tare under the given shim and tare under containerd's own: one by its runtime name, found in PATH, the other as
`io.containerd.runc.v2` with tare as its binary. Each has a containerd with directories of its own.
"""
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import ctr_engine
import cri_engine
import image
from harness import DEBIAN_PATH, OWN_SHIM as OWN, Engine, Failed, Flows, call, cgroups, check, version, within
from ttrpc import Events, Shim
from wire import encode

flow = Flows()
NAMESPACE = 'test'


class Shims(Engine):
    name, usual, shims = 'shim', 'runc', True
    program = 'containerd'

    @staticmethod
    def arguments(parser):
        parser.add_argument('--alone', action='store_true', help="without containerd's own shim beside it")
        parser.add_argument('--times', type=int, metavar='N', help='moments of each kill (8 at most, unless --alone), containers of a crowd (default: 5, with --all 200)')
        parser.add_argument('--containers', type=int, metavar='N', help='containers one after the other (default: as many as moments)')
        parser.add_argument('--seed', type=int, default=1, help='for the moments (default: 1)')
        parser.add_argument('--older', metavar='PATH', help='a containerd of an earlier version, which the installed one takes over from')

    def start(self):
        self.group = os.path.basename(self.work)
        self.sides = {name: Side(self, name) for name in self.runtimes}
        self.root = image.rootfs(self.work + '/root')

    def times(self):
        return self.options.times or (200 if self.options.all else 5)

    def moments(self):
        """Of a kill. Few beside containerd's own shim: at many of them it leaves something, which is waited for a minute long."""
        return self.times() if self.options.alone else min(self.times(), 8)

    def client(self, runtime):
        return Client(self, self.sides[runtime], runtime)

    def clean(self, client):
        client.clean()

    def stop(self):
        for side in self.sides.values():
            side.stop()
        super().stop()


class Side(cri_engine.Cri):
    """A containerd and one shim for everything in it; it starts when it is first asked for."""

    def __init__(self, judge, name):
        self.judge, self.side, self.up = judge, name, False
        super().__init__(f'{judge.work}/{name}', {name: judge.options.tare})
        self.options = judge.options
        self.older = None
        os.makedirs(self.work + '/tmp')

    def settle(self):
        self.group = f'{self.judge.group}/{self.side}'

    def containerd(self):
        return self.older or 'containerd'

    def settings(self):
        """With a class besides, whose pods the shim makes itself: containerd 2 knows of it."""
        text = super().settings()
        if int(version('containerd').split('.')[0]) >= 2:
            kind = 'io.containerd.tare.v2' if self.side == 'shim' else 'io.containerd.runc.v2'
            text += (f'[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.sandboxed]\nruntime_type = "{kind}"\n'
                     'sandboxer = "shim"\n')
        return text

    def ensure(self):
        if not self.up:
            self.up = True
            self.start()
            self.binary = shutil.which('ctr', path=DEBIAN_PATH)
            self.ctr('images', 'import', f'{self.work}/box.tar', timeout=120).ok()
        return self

    def ctr(self, *words, namespace=NAMESPACE, **more):
        return call(self.binary, '-a', self.socket, '-n', namespace, *words, **more)

    def path(self):
        """Of the shim's file."""
        name = 'containerd-shim-tare-v2' if self.side == 'shim' else OWN
        return shutil.which(name, path=self.shim_path() if self.side == 'shim' else DEBIAN_PATH)

    def environment(self):
        return dict(os.environ, PATH=self.shim_path() if self.side == 'shim' else DEBIAN_PATH, TMPDIR=self.work + '/tmp')

    def stop(self):
        if self.up:
            super().stop()


def processes():
    """Number, parent, state and words of every process here."""
    for number in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{number}/stat') as stat, open(f'/proc/{number}/cmdline') as line:
                state, parent = stat.read().rsplit(') ', 1)[1].split()[:2]
                yield int(number), int(parent), state, line.read().rstrip('\0').split('\0')
        except OSError:
            pass  # it has ended


def shim_processes():
    return [(number, words) for number, _, state, words in processes() if state != 'Z' and os.path.basename(words[0]).startswith('containerd-shim-')]


def servers(id=None):
    """Shims that serve: no helpers that start or delete one."""
    found = []
    for number, words in shim_processes():
        after = words[1:]
        if 'start' in after or 'delete' in after:
            continue
        if id is None or id in after:
            found.append(number)
    return found


class Client:
    """One of the two shims: under containerd, and bare."""

    def __init__(self, engine, side, runtime):
        self.engine, self.side, self.runtime = engine, side, runtime
        self.bares, self.watches, self.fakes = [], [], []
        self.before = {number for number, *_ in processes()}

    # Under containerd.

    def ctr(self):
        """ctr, bound to this shim."""
        self.side.ensure()
        self.containers = ctr_engine.Client(self.side, self.runtime)
        return self.containers

    def cri(self):
        self.side.ensure()
        return cri_engine.Client(self.side, self.runtime)

    def watch(self):
        self.side.ensure()
        self.watches.append(Watch(self.side))
        return self.watches[-1]

    def bare(self, *command, **more):
        self.bares.append(Bare(self, command, **more))
        return self.bares[-1]

    def clean(self):
        for watch in self.watches:
            watch.stop()
        for bare in self.bares:
            bare.stop()
        if self.side.up:
            if self.side.process.poll() is not None:
                self.side.begin()
            try:
                self.side.clean(None)
            except Failed:
                pass
            for name in self.side.ctr('container', 'ls', '-q').out.split():
                self.side.ctr('task', 'kill', '-s', 'KILL', name)
                self.side.ctr('task', 'delete', '--force', name)
                self.side.ctr('container', 'delete', name)
        self.sweep()

    def sweep(self):
        """What a failed flow has left must not be held against the next one."""
        for number, _ in shim_processes():
            stop(number)
        for number, _, _, words in processes():
            if number not in self.before and self.in_our_group(number):
                stop(number)
        if self.left():
            time.sleep(0.5)
            self.scrub()

    def scrub(self):
        with open('/proc/self/mountinfo') as file:
            points = [line.split()[4] for line in file]
        for point in points:
            if point.startswith(self.side.work + '/'):
                call('umount', '-l', point)
        for group in cgroups(getattr(self.side, 'group', '-none-')):
            for path, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
        for fault in list(self.left()):
            path = fault.split()[-1]
            if path.startswith((self.side.work, '/run/containerd/')):
                call('rm', '-rf', '--one-file-system', path)

    def in_our_group(self, number):
        try:
            with open(f'/proc/{number}/cgroup') as file:
                return self.side.group in file.read()
        except (OSError, AttributeError):
            return False

    def left(self):
        """Everything that is there of containers and shims, once all of them were removed."""
        return [*left_processes(self), *left_mounts(self.side), *left_groups(self.side), *left_files(self.side)]

    def nothing_left(self, seconds=60, what='nothing is left'):
        end = time.monotonic() + seconds
        while True:
            left = self.left()
            if not left:
                return
            check(time.monotonic() < end, f'{what}: {len(left)}: {"; ".join(left[:5])}')
            time.sleep(0.1)


def stop(number):
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        pass


def left_processes(client):
    known = ('containerd', 'ctr', 'python3', 'dockerd')
    for number, parent, state, words in processes():
        if number in client.before or parent == os.getpid() or number == os.getpid():
            continue
        if state == 'Z':
            if parent != 1:
                yield f'zombie {number} of {parent}'
        elif os.path.basename(words[0]) not in known:
            yield f'process {number}: {" ".join(words)[:100]}'


def left_mounts(side):
    with open('/proc/self/mountinfo') as file:
        for line in file:
            point = line.split()[4]
            if point.startswith(side.work + '/'):
                yield f'mount {point}'


def left_groups(side):
    for directory in cgroups(getattr(side, 'group', '-none-')):
        for path, names, _ in os.walk(directory):
            # A pod's own directory is kubelet's to remove.
            yield from (f'cgroup {path}/{name}' for name in names if not re.fullmatch(r'pod-\d+', name))


def left_files(side):
    for kind in ('state', 'root'):
        yield from (f'{kind} of {path}' for path in glob.glob(f'{side.work}/{kind}/io.containerd.runtime.v2.task/*/*'))
        yield from (f'{kind} of {path}' for path in glob.glob(f'{side.work}/{kind}/io.containerd.grpc.v1.cri/*/*'))
    yield from (f'state {path}' for path in glob.glob(f'{side.work}/state-of-*/*/*'))
    yield from (f'file {path}' for path in glob.glob(f'{side.work}/tmp/*'))
    for path, names, files in os.walk('/run/containerd'):
        if path.startswith('/run/containerd/fifo'):
            continue  # of ctr, which leaves them when it fails
        deep = path.removeprefix('/run/containerd').count('/')
        yield from (f'file {path}/{name}' for name in files)
        yield from (f'directory {path}/{name}' for name in names if deep >= 2)
    with open('/proc/net/unix') as file:
        yield from (f'socket {line.split()[-1]}' for line in file if '@' in line and 'containerd-shim' in line)


class Watch:
    """Every event that containerd tells, also over its restarts."""

    def __init__(self, side):
        self.side, self.lines, self.ended, self.process = side, [], False, None
        self.lives = []  # of each line: which containerd told it
        threading.Thread(target=self.run, daemon=True).start()
        within(60, lambda: self.process, 'ctr events runs')
        # It is listening once it tells of something.
        def tells():
            side.ctr('containers', 'label', 'no-such', 'a=b')
            side.ctr('namespaces', 'label', NAMESPACE, f'at={time.monotonic_ns()}')
            return self.lines
        within(60, tells, 'ctr events tells something')

    def run(self):
        while not self.ended:
            self.process = subprocess.Popen([self.side.binary, '-a', self.side.socket, 'events'], stdout=subprocess.PIPE,
                                            stderr=subprocess.DEVNULL, text=True)
            for line in self.process.stdout:
                self.lives.append(self.process.pid)
                self.lines.append(line.rstrip())
            self.process.wait()
            time.sleep(0.01)

    def stop(self):
        self.ended = True
        self.process.kill()

    def ends(self, id):
        """How often the end of its first process was told. A containerd that has told it and was killed before it answered the
        shim leaves the shim no choice: the next one hears the same end, with the same time, and that counts as once."""
        count, seen = 0, {}
        for life, line in zip(list(self.lives), list(self.lines)):
            topic, _, fields = line.partition(' {')
            fields = json.loads('{' + fields)
            if topic.split()[-1] == '/tasks/exit' and fields.get('container_id') == fields.get('id') == id:
                # From 1.7 on an object.
                at = str(fields.get('exited_at'))
                count += seen.get(at) in (None, life)
                seen[at] = life
        return count

    def told(self, id=None):
        """(topic, fields) of each event, of one container."""
        found = []
        for line in list(self.lines):
            topic, _, fields = line.partition(' {')
            fields = json.loads('{' + fields)
            if id is None or id in (fields.get('container_id'), fields.get('id')):
                found.append((topic.split()[-1], fields))
        return found

    def exits(self, id):
        """Of its first process, as far as they have come here: after what the client saw, it may take a moment."""
        return [fields.get('exit_status', 0) for topic, fields in self.told(id) if topic == '/tasks/exit' and fields['id'] == id]


class Bare:
    """A shim that is started, called and watched as containerd does it, with no containerd: a bundle of its own, and a
    service that its events go to."""
    count = 0

    def __init__(self, client, command, options=None, start=True, streams=('', '', ''), terminal=False, spec=None, wrapper=None):
        Bare.count += 1
        self.client, self.id = client, f'{client.runtime}-bare-{Bare.count}'
        self.home = f'{client.engine.work}/{self.id}'
        self.bundle, self.streams, self.terminal = f'{self.home}/{self.id}', streams, terminal
        os.makedirs(self.bundle)
        # Shims of one pod find each other by the daemon's address.
        self.daemon = f'{client.engine.work}/{client.runtime}-daemon.sock'
        self.shim_file, self.tare = client.side.path(), wrapper or client.engine.options.tare
        self.group = f'/{client.engine.group}/{client.runtime}/{self.id}'
        self.write_spec(command, spec or {})
        self.options = dict({'binary_name': self.tare, 'root': self.home + '/runtime'}, **(options or {}))
        os.mkfifo(self.bundle + '/log')
        self.log = os.open(self.bundle + '/log', os.O_RDWR | os.O_NONBLOCK)
        self.events = Events(self.home + '/events.ttrpc')
        self.connection = None
        if start:
            self.start()

    def write_spec(self, command, more):
        # `tare spec` needs no shim; its terminal is switched off.
        call(self.client.engine.options.tare, 'spec', cwd=self.bundle).ok()
        with open(self.bundle + '/config.json') as file:
            spec = json.load(file)
        spec['process'].update({'args': list(command) or ['sleep', '1000'], 'terminal': self.terminal}, **more.pop('process', {}))
        spec['root'] = {'path': self.client.engine.root, 'readonly': False}
        spec['linux']['cgroupsPath'] = self.group
        spec.update(more)
        with open(self.bundle + '/config.json', 'w') as file:
            json.dump(spec, file)

    def run(self, *words, stdin=b'', timeout=60, cwd=None):
        """The shim as a command."""
        environment = dict(self.client.side.environment(), TTRPC_ADDRESS=self.home + '/events.ttrpc',
                           GRPC_ADDRESS=self.daemon, NAMESPACE=NAMESPACE, MAX_SHIM_VERSION='2', GOMAXPROCS='2')
        argv = [self.shim_file, '-namespace', NAMESPACE, '-address', self.daemon, '-publish-binary', '/usr/bin/containerd',
                '-id', self.id, *words]
        try:
            return subprocess.run(argv, input=stdin, capture_output=True, cwd=cwd or self.bundle, env=environment, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f'the command {words[-1]}: no end after {timeout} s') from None

    def start(self):
        value = encode('Any', {'type_url': 'containerd.runc.v1.Options', 'value': encode('RuncOptions', self.options)})
        done = self.run('start', stdin=value)
        check(done.returncode == 0, f'start: status {done.returncode}: {done.stderr.decode()[-300:]}')
        said = done.stdout.decode().strip()
        self.address = json.loads(said)['address'] if said.startswith('{') else said
        with open(self.bundle + '/address', 'w') as file:
            file.write(self.address)
        self.connect()

    def connect(self):
        if self.connection:
            self.connection.close()
        self.connection = Shim(self.address)

    def delete_command(self, **more):
        """As containerd calls it when the shim has gone, or may have."""
        return self.run('-bundle', self.bundle, 'delete', **more)

    def call(self, method, /, **fields):
        return self.connection.call(method, **dict({'id': self.id}, **fields))

    def code(self, method, /, **fields):
        return self.connection.code(method, **dict({'id': self.id}, **fields))

    def create_fields(self):
        given = dict(zip(('stdin', 'stdout', 'stderr'), self.streams))
        return dict({'bundle': self.bundle, 'terminal': self.terminal,
                     'options': {'type_url': 'containerd.runc.v1.Options', 'value': encode('RuncOptions', self.options)}}, **given)

    def create(self):
        self.pid = self.call('Create', **self.create_fields())['pid']
        return self

    def up(self):
        self.create()
        self.call('Start')
        return self

    def exec_fields(self, name, *command, terminal=False, streams=('', '', '')):
        process = {'args': list(command), 'cwd': '/', 'env': [f'PATH={image.PATH}'], 'user': {'uid': 0, 'gid': 0}, 'terminal': terminal}
        given = dict(zip(('stdin', 'stdout', 'stderr'), streams))
        return dict({'exec_id': name, 'terminal': terminal,
                     'spec': {'type_url': 'types.containerd.io/opencontainers/runtime-spec/1/Process', 'value': json.dumps(process).encode()}},
                    **given)

    def exec(self, name, *command, **more):
        self.call('Exec', **self.exec_fields(name, *command, **more))

    def finish(self, name, *command, **more):
        """An exec to its end: its status."""
        self.exec(name, *command, **more)
        self.call('Start', exec_id=name)
        status = self.call('Wait', exec_id=name)['exit_status']
        self.call('Delete', exec_id=name)
        return status

    def servers(self):
        return servers(self.id)

    def threads(self):
        return len(os.listdir(f'/proc/{self.servers()[0]}/task'))

    def memory(self):
        """Private dirty memory of the shim in KiB."""
        with open(f'/proc/{self.servers()[0]}/smaps_rollup') as file:
            return int(re.search(r'Private_Dirty:\s+(\d+)', file.read())[1])

    def ended(self, seconds=20):
        within(seconds, lambda: not self.servers(), 'the shim has ended')

    def end(self):
        """As containerd ends a task and its shim."""
        self.code('Kill', signal=9)
        self.code('Wait')
        self.code('Delete')
        self.code('Shutdown', now=True)
        self.ended()

    def stop(self):
        for number in self.servers():
            stop(number)
        if self.connection:
            self.connection.close()
        call(self.client.engine.options.tare, '--root', self.options['root'], 'delete', '--force', self.id)
        call(self.client.engine.options.tare, '--root', f'{self.options["root"]}/{NAMESPACE}', 'delete', '--force', self.id)
        os.close(self.log)
        if os.path.exists(self.events.path):
            self.events.close()
        shutil.rmtree(self.home, ignore_errors=True)


def fifo(path):
    """A new one, which we hold open at both ends."""
    os.mkfifo(path)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def read_until(descriptor, enough, seconds=60):
    """What comes out until `enough` is true of it."""
    seen = bytearray()

    def more():
        try:
            seen.extend(os.read(descriptor, 1 << 20))
        except BlockingIOError:
            pass
        return enough(seen)
    within(seconds, more, f'output ({len(seen)} bytes so far)')
    return bytes(seen)

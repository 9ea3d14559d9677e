"""What the sweeps of this directory share: containers and images whose configuration asks for a little of everything, verbs
with what must hold after each, and what is left on the machine."""
import ctypes
import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

DEADLINE = 30
HERE = os.path.dirname(os.path.abspath(__file__))
# What the program inside sees of itself. Lines with a number of this run's are left out.
PROGRAM = r'''
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Sig(Blk|Ign))' /proc/self/status
hostname; ulimit -n; cat /proc/self/oom_score_adj; cat /proc/sys/net/ipv4/ip_forward
cut -d' ' -f4- /proc/self/mountinfo | sed -E 's/(shared|master):[0-9]+//g; s/[0-9]+ //' | sed -E 's/ - .*(overlay|ext4|xfs|btrfs).*/ - DISK/' | sort
cat /proc/keys 2>&1 | head -c 10; echo x > /proc/sysrq-trigger 2>&1 || echo read-only
test -e /proc/kcore && head -c 1 /proc/kcore | wc -c; ls -l /dev | awk '{print $1, $NF}'
for kind in mnt pid net ipc uts cgroup; do test "$(readlink /proc/self/ns/$kind)" = "$(eval echo \$HOST_$kind)" && echo shared $kind; done
echo fd: $(ls /proc/self/fd | wc -l)
'''


def own_mounts(cgroup2=False):
    """A private mount namespace: nobody else's process has a copy of what is mounted here. `cgroup2`: in it,
    /sys/fs/cgroup is the v2 tree alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    newns, private, recursive = 0x20000, 1 << 18, 0x4000
    steps = [lambda: libc.unshare(newns), lambda: libc.mount(None, b'/', None, private | recursive, None)]
    if cgroup2 and not os.path.exists('/sys/fs/cgroup/cgroup.procs'):
        steps.append(lambda: libc.mount(b'none', b'/sys/fs/cgroup', b'cgroup2', 0, None))
    for step in steps:
        if step() != 0:
            sys.exit(f'a mount namespace of its own: {os.strerror(ctypes.get_errno())}')


def has_controller(name):
    """Whether the mounted control groups limit this."""
    if os.path.exists('/sys/fs/cgroup/cgroup.procs'):
        with open('/sys/fs/cgroup/cgroup.controllers') as file:
            return name in file.read().split()
    return os.path.isdir(f'/sys/fs/cgroup/{name}')


def calls_by_number():
    """The names of this machine's system calls."""
    text = subprocess.run(['gcc', '-E', '-dM', '-include', 'sys/syscall.h', '-x', 'c', '/dev/null'],
                          capture_output=True, text=True, check=True).stdout
    return {int(number): name for name, number in re.findall(r'#define __NR_([a-z_0-9]+) (\d+)', text)}


# Everything that was made, for whoever is interrupted.
MADE = []


def forgotten():
    """Removes what an interrupted run has left of each."""
    for each in MADE:
        if each.traces():
            each.swept()


class Verbs:
    """What runs verbs by its `command`."""

    def plain(self, *words):
        """Runs a verb without any failure."""
        return finished(self.command(*words))

    def must(self, *words):
        status, _, errors = self.plain(*words)
        if status != 0:
            sys.exit(f'{words}: {status}: {errors}')


class Bundle(Verbs):
    """A container. `user`: with a user namespace, and offsets of clocks, which take a helper process."""

    def __init__(self, work, tare, user=False):
        self.work, self.tare = work, tare
        MADE.append(self)
        self.path, self.state = f'{work}/bundle', f'{work}/state'
        self.id = f'sweep-{os.getpid()}'
        self.said = ''  # by the verb that is judged, on its standard error
        self.failed = ''  # the call that was let fail
        root = f'{self.path}/rootfs'
        for name in ['bin', 'proc', 'sys', 'dev', 'tmp', 'etc', 'data']:
            os.makedirs(f'{root}/{name}')
        shutil.copy('/bin/busybox', f'{root}/bin/busybox')
        for name in subprocess.run(['/bin/busybox', '--list'], capture_output=True, text=True).stdout.split():
            if name != 'busybox':
                os.symlink('busybox', f'{root}/bin/{name}')
        os.makedirs(f'{work}/source')
        os.chmod(work, 0o755)
        subprocess.run([tare, 'spec', '--bundle', self.path], check=True)
        with open(f'{self.path}/config.json') as file:
            self.template = self.filled(json.load(file), user)

    def filled(self, config, user):
        process = config['process']
        process.update(terminal=False, noNewPrivileges=True, oomScoreAdj=500)
        process['user'] = {'uid': 0, 'gid': 0, 'additionalGids': [10, 20]}
        process['env'] += [f'HOST_{kind}={os.readlink(f"/proc/self/ns/{kind}")}'
                           for kind in ['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup']]
        config['mounts'].append({'destination': '/data', 'type': 'bind', 'source': f'{self.work}/source',
                                 'options': ['bind', 'ro', 'nosuid']})
        config['mounts'].append({'destination': '/tmp', 'type': 'tmpfs', 'source': 'tmpfs',
                                 'options': ['size=1m', 'nodev']})
        linux = config['linux']
        linux['sysctl'] = {'net.ipv4.ip_forward': '1'}
        linux['cgroupsPath'] = f'/{self.id}'
        linux['resources'] = {'devices': [{'allow': False, 'access': 'rwm'}]}
        if has_controller('pids'):
            linux['resources']['pids'] = {'limit': 100}
        linux['seccomp'] = {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [
            {'names': ['ptrace', 'personality'], 'action': 'SCMP_ACT_ERRNO'}]}
        hook = {'path': '/bin/true', 'args': ['true']}
        config['hooks'] = {kind: [hook] for kind in
                           ['prestart', 'createRuntime', 'poststart', 'poststop']}
        if user:
            linux['namespaces'] += [{'type': 'user'}, {'type': 'time'}]
            linux['uidMappings'] = linux['gidMappings'] = [{'containerID': 0, 'hostID': 100000, 'size': 65536}]
            linux['timeOffsets'] = {'boottime': {'secs': 5}}
        return config

    def write(self, args):
        self.template['process']['args'] = args
        with open(f'{self.path}/config.json', 'w') as file:
            json.dump(self.template, file)

    def filled_in(self, word):
        return word.replace('{id}', self.id).replace('{bundle}', self.path)

    def command(self, *words):
        return [self.tare, '--root', self.state, *words]

    def traces(self):
        """What is left on the machine."""
        left = [f'state {name}' for name in (os.listdir(self.state) if os.path.isdir(self.state) else [])]
        left += mounts_of(self.work, self.id) + groups_of(self.id) + processes_of(self.id, self.state, self.path)
        return left

    def cleaned(self):
        """Deletes the container by force; returns what is wrong afterwards."""
        status, _, errors = self.plain('delete', '--force', self.id)
        if status != 0:
            return f'delete --force: {status}: {errors.strip()}'
        left = lasting(self.traces)
        return f'left behind: {", ".join(left)}' if left else None

    def swept(self):
        """Whatever it takes, after something is wrong, so that the next point has a clean machine."""
        for left in self.traces():
            if left.startswith('process '):
                try:
                    os.kill(int(left.split()[1]), signal.SIGKILL)
                except OSError:
                    pass
        time.sleep(0.5)
        self.plain('delete', '--force', self.id)
        for group in groups_of(self.id):
            try:
                os.rmdir(group.split(' ', 1)[1])
            except OSError:
                pass
        shutil.rmtree(self.state, ignore_errors=True)


def lasting(find, seconds=2):
    """What is still found after so long: what was killed takes a moment to be gone."""
    end = time.monotonic() + seconds
    while (left := find()) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def mounts_of(*names):
    with open('/proc/self/mountinfo') as file:
        return [f'mount {line.split()[4]}' for line in file if any(name in line for name in names)]


def groups_of(name):
    with open('/proc/self/mountinfo') as file:
        points = {line.split()[4] for line in file if ' - cgroup' in line}
    return [f'group {point}/{name}' for point in sorted(points) if os.path.isdir(f'{point}/{name}')]


def processes_of(name, *arguments):
    """Processes in a group of that name, or with one of the arguments."""
    left = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        if int(pid) == os.getpid():
            continue
        try:
            with open(f'/proc/{pid}/cgroup') as file:
                its = name in file.read()
            if not its:
                with open(f'/proc/{pid}/cmdline', errors='replace') as file:
                    words = file.read()
                its = any(argument in words for argument in arguments)
            if its:
                with open(f'/proc/{pid}/stat', errors='replace') as file:
                    its = file.read().rsplit(') ', 1)[1][0] not in 'ZX'
        except OSError:
            continue
        if its:
            left.append(f'process {pid}')
    return left


def finished(command, deadline=DEADLINE, environment=None, directory=None):
    """Status (None: it had to be killed), output and errors of a command."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        # Files and not pipes: what is left behind would hold them open.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                                 start_new_session=True, env=environment, cwd=directory)
        try:
            status = child.wait(deadline)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode(errors='replace'))
        return status, *texts


def stopped():
    """A list that is no longer empty once SIGTERM has come: a long run then says what it has found so far."""
    found = []
    signal.signal(signal.SIGTERM, lambda *_: found.append(True))
    return found


class Boundary:
    """integration/security/boundary.c, compiled."""

    def __init__(self, work, runtime):
        self.program, self.table, self.runtime = f'{work}/boundary', f'{work}/table', runtime
        subprocess.run(['gcc', '-O2', '-o', self.program, f'{HERE}/boundary.c'], check=True)

    def calls(self, command):
        """Every call of the command's processes, as (process, number, call); and how the command ended."""
        ended = finished([self.program, self.runtime, self.table, 'list', *command], 10 * DEADLINE)
        with open(self.table) as file:
            return [tuple(map(int, line.split())) for line in file], ended

    def at(self, action, words, command):
        """Does something at one point; returns how the command ended, and whether the point was reached."""
        # Each call stops it twice on the way: on a busy machine the thousands of a removal take their time.
        deadline = DEADLINE + words[1] // 50
        ended = finished([self.program, self.runtime, self.table, action, *map(str, words), *command], deadline)
        with open(self.table) as file:
            return ended, file.read().startswith('hit')


class Verb:
    """One verb: how the machine is made ready for it, its command, and what must hold when it has succeeded."""

    def __init__(self, name, words, prepare=(), program=None, judge=None, goes_on=False):
        self.name, self.words, self.prepare = name, words, prepare
        self.program = program or ['sleep', '1000']
        self.judge = judge or (lambda bundle, output, expected: None)
        self.goes_on = goes_on  # whatever becomes of the verb, its container runs afterwards

    def ready(self, bundle):
        bundle.write(self.program)
        for words in self.prepare:
            bundle.must(*[bundle.filled_in(word) for word in words])

    def command(self, bundle):
        return bundle.command(*[bundle.filled_in(word) for word in self.words])


# A device that may not be made is the host's own, bound there: the same device, and a mount more.
BOUND = re.compile(r'^/(null|zero|full|tty|random|urandom) /dev/\1 .* devtmpfs .*\n', re.M)


def same_output(_bundle, output, expected):
    output = BOUND.sub('', output)
    return None if output == expected else f'it saw something else:\n{difference(expected, output)}'


def difference(one, other):
    lines = [f'  - {line}' for line in one.splitlines() if line not in other.splitlines()]
    return '\n'.join((lines + [f'  + {line}' for line in other.splitlines() if line not in one.splitlines()])[:12])


def status_is(wanted):
    def judge(bundle, _output, _expected):
        for _ in range(100):
            _, output, _ = bundle.plain('state', bundle.id)
            found = json.loads(output)['status'] if output else 'gone'
            if found == wanted:
                return None
            time.sleep(0.02)
        return f'it is {found}, not {wanted}'
    return judge


def created(bundle, _output, _expected):
    """A created container becomes what was asked when it is started."""
    status, _, errors = bundle.plain('start', bundle.id)
    if status != 0 and 'that has stopped' in errors and (bundle.said or bundle.failed in ('recvmsg', 'read')):
        return None  # Its process failed behind the creation, as it waited: it has said so, or will, where the runtime has ended.
    if status != 0:
        return f'start: {errors}'
    status, output, errors = bundle.plain('exec', bundle.id, 'sh', '-c', PROGRAM)
    if 'stopped container' in errors:
        return None  # What failed behind the start is told in the container's own standard error, and nothing runs.
    return same_output(bundle, output, bundle.inside) if status == 0 else f'exec: {errors}'


def limit_is(bundle, _output, _expected):
    for base in ['/sys/fs/cgroup/pids', '/sys/fs/cgroup']:
        path = f'{base}/{bundle.id}/pids.max'
        if os.path.exists(path):
            with open(path) as file:
                found = file.read().strip()
            return None if found == '50' else f'pids.max is {found}'
    return 'no group'


def is_json(_bundle, output, _expected):
    try:
        return None if json.loads(output) else 'nothing was printed'
    except (ValueError, IndexError):
        return f'printed {output[:100]!r}'


CREATE = [['create', '--bundle', '{bundle}', '{id}']]
START = [*CREATE, ['start', '{id}']]


def verbs():
    """Those of the runtime."""
    found = [
        Verb('run', ['run', '--bundle', '{bundle}', '{id}'], program=['sh', '-c', PROGRAM], judge=same_output),
        Verb('create', ['create', '--bundle', '{bundle}', '{id}'], judge=created),
        Verb('start', ['start', '{id}'], CREATE, judge=status_is('running')),
        Verb('exec', ['exec', '{id}', 'sh', '-c', PROGRAM], START, judge=same_output, goes_on=True),
        Verb('kill', ['kill', '{id}', 'KILL'], START, judge=status_is('stopped')),
        Verb('delete', ['delete', '--force', '{id}'], START, judge=status_is('gone')),
        Verb('pause', ['pause', '{id}'], START, judge=status_is('paused'), goes_on=True),
        Verb('resume', ['resume', '{id}'], [*START, ['pause', '{id}']], judge=status_is('running'), goes_on=True),
        Verb('events', ['events', '--stats', '{id}'], START, judge=is_json, goes_on=True),
        Verb('state', ['state', '{id}'], START, judge=is_json, goes_on=True),
    ]
    if has_controller('pids'):
        found.append(Verb('update', ['update', '--pids-limit', '50', '{id}'], START, judge=limit_is, goes_on=True))
    return found


class Images(Verbs):
    """An image of two layers in a layout, a place for bundles, and a store."""

    def __init__(self, work, program):
        self.work, self.program = f'{work}/images', program
        MADE.append(self)
        self.layout, self.place, self.store = f'{self.work}/layout', f'{self.work}/place', f'{self.work}/store'
        self.copy = f'{self.work}/copies/copy'
        self.inside, self.said, self.failed = None, '', ''
        os.makedirs(self.place)
        os.makedirs(f'{self.work}/copies')
        make_layout(self.layout)
        # What an empty store is made of stays.
        self.plain('prune', '--all', '--store', self.store)

    def write(self, _program):
        pass

    def filled_in(self, word):
        return (word.replace('{layout}', self.layout).replace('{bundle}', f'{self.place}/bundle')
                .replace('{store}', self.store).replace('{copy}', self.copy))

    def command(self, *words):
        return [self.program, *words]

    def cleaned(self):
        """The documented way back: what is there is removed, and what is not was removed by the command after the one
        that was ended. Nothing is left then, and all can be made again."""
        bundle = f'{self.place}/bundle'
        if os.path.lexists(bundle):
            status, _, errors = self.plain('remove', '--store', self.store, bundle)
            if status != 0 and os.path.lexists(bundle):
                return f'remove: {status}: {errors.strip()}'
        for words in [['unpack', '-q', '--overlay', '--store', self.store, f'oci:{self.layout}:latest', bundle],
                      ['remove', '--store', self.store, bundle], ['prune', '--all', '--store', self.store],
                      ['pull', '-q', f'oci:{self.layout}:latest', f'oci:{self.copy}:latest']]:
            status, _, errors = self.plain(*words)
            if status != 0:
                return f'afterwards, {words[0]}: {status}: {errors.strip()}'
        shutil.rmtree(self.copy)
        left = lasting(self.traces)
        return f'left behind: {", ".join(left)}' if left else None

    def traces(self):
        left = mounts_of(self.work) + processes_of(self.work, self.work)
        for place in [self.place, f'{self.work}/copies', f'{self.store}/layers', f'{self.store}/bundles', f'{self.store}/images',
                      f'{self.store}/containers', f'{self.store}/tmp']:
            left += [f'file {place}/{name}' for name in (os.listdir(place) if os.path.isdir(place) else [])]
        return left

    def swept(self):
        for _ in range(10):
            for line in mounts_of(self.work):
                subprocess.run(['umount', '--lazy', line.split()[1]], stderr=subprocess.DEVNULL, check=False)
        for place in [self.place, f'{self.work}/copies', self.store]:
            shutil.rmtree(place, ignore_errors=True)
        os.makedirs(self.place, exist_ok=True)
        os.makedirs(f'{self.work}/copies', exist_ok=True)


def make_layout(path):
    """Files, a link of each sort, an attribute, a whiteout."""
    def layer(*members):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as archive:
            for name, kind, content in members:
                info = tarfile.TarInfo(name)
                info.type, info.mode, info.mtime = kind, 0o755, 1_600_000_000
                if kind == tarfile.REGTYPE:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
                else:
                    info.linkname = content.decode()
                    archive.addfile(info)
        return out.getvalue()

    def blob(data):
        name = hashlib.sha256(data).hexdigest()
        with open(f'{path}/blobs/sha256/{name}', 'wb') as file:
            file.write(data)
        return {'digest': f'sha256:{name}', 'size': len(data)}

    os.makedirs(f'{path}/blobs/sha256')
    layers = [layer(('bin', tarfile.DIRTYPE, b''), ('bin/program', tarfile.REGTYPE, b'#!/bin/sh\n' * 1000),
                    ('bin/link', tarfile.SYMTYPE, b'program'), ('bin/other', tarfile.LNKTYPE, b'bin/program'),
                    ('etc', tarfile.DIRTYPE, b''), ('etc/gone', tarfile.REGTYPE, b'x'), ('etc/passwd', tarfile.REGTYPE, b'')),
              layer(('etc', tarfile.DIRTYPE, b''), ('etc/.wh.gone', tarfile.REGTYPE, b''),
                    ('etc/file', tarfile.REGTYPE, b'y' * 5000))]
    packed = [gzip.compress(each, mtime=0) for each in layers]
    config = {'architecture': {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(os.uname().machine, os.uname().machine), 'os': 'linux',
              'config': {'Cmd': ['/bin/program']},
              'rootfs': {'type': 'layers', 'diff_ids': [f'sha256:{hashlib.sha256(each).hexdigest()}' for each in layers]}}
    kind = 'application/vnd.oci.image.'
    manifest = {'schemaVersion': 2, 'mediaType': f'{kind}manifest.v1+json',
                'config': {'mediaType': f'{kind}config.v1+json', **blob(json.dumps(config).encode())},
                'layers': [{'mediaType': f'{kind}layer.v1.tar+gzip', **blob(each)} for each in packed]}
    index = {'schemaVersion': 2, 'manifests': [{'mediaType': f'{kind}manifest.v1+json', **blob(json.dumps(manifest).encode()),
                                                'annotations': {'org.opencontainers.image.ref.name': 'latest'}}]}
    for name, value in [('index.json', index), ('oci-layout', {'imageLayoutVersion': '1.0.0'})]:
        with open(f'{path}/{name}', 'w') as file:
            json.dump(value, file)


def tree(path):
    """Paths, modes and contents."""
    found = []
    for directory, names, files in os.walk(path):
        for name in names + files:
            whole = f'{directory}/{name}'
            info = os.lstat(whole)
            content = ''
            if stat.S_ISREG(info.st_mode):
                with open(whole, 'rb') as file:
                    content = hashlib.sha256(file.read()).hexdigest()[:16]
            found.append(f'{whole[len(path):]} {info.st_mode:o} {content}')
    return sorted(found)


UNPACKED = ['/bin 40755', '/bin/link', '/bin/other 100755', '/bin/program 100755', '/etc 40755', '/etc/file 100755', '/etc/passwd 100755']


def unpacked(images, _output, _expected):
    found = tree(f'{images.place}/bundle/rootfs')
    wrong = len(found) != len(UNPACKED) or any(not one.startswith(wanted) for one, wanted in zip(found, UNPACKED))
    sums = {line.split()[-1] for line in found if 'program' in line or 'other' in line}
    return f'unpacked is {found}' if wrong or len(sums) != 1 else None


def without(what):
    def judge(images, _output, _expected):
        path = images.filled_in(what)
        return f'{path} is there' if os.path.lexists(path) and (os.path.isfile(path) or os.listdir(path)) else None
    return judge


def pulled(images, _output, _expected):
    """Whole: a bundle of it can be made without the layout's blobs."""
    status, _, errors = images.plain('verify', f'oci:{images.copy}:latest')
    return None if status == 0 else f'verify: {errors.strip()}'


def kept(images, _output, _expected):
    """A bundle can be made of the store."""
    if not os.listdir(f'{images.store}/images'):
        return 'no image is in the store'
    images.must('unpack', '-q', '--overlay', '--store', images.store, f'oci:{images.layout}:latest', f'{images.place}/bundle')
    return unpacked(images, None, None)


def image_verbs():
    unpack = ['unpack', '-q', 'oci:{layout}:latest', '{bundle}']
    overlay = ['unpack', '-q', '--overlay', '--store', '{store}', 'oci:{layout}:latest', '{bundle}']
    pull = ['pull', '-q', '--store', '{store}', 'oci:{layout}:latest']
    remove = ['remove', '--store', '{store}', '{bundle}']
    return [
        Verb('unpack', unpack, judge=unpacked),
        Verb('unpack-overlay', overlay, judge=unpacked),
        Verb('unpack-pulled', overlay, [pull], judge=unpacked),
        Verb('pull', pull, judge=kept),
        Verb('pull-layout', ['pull', '-q', 'oci:{layout}:latest', 'oci:{copy}:latest'], judge=pulled),
        Verb('remove', remove, [unpack], judge=without('{bundle}')),
        Verb('remove-overlay', remove, [overlay], judge=without('{bundle}')),
        Verb('prune', ['prune', '--all', '--store', '{store}'], [pull], judge=without('{store}/layers')),
    ]


NUMBERS = {name: getattr(errno, name) for name in
           ['ENOMEM', 'EMFILE', 'ENFILE', 'ENOSPC', 'EINTR', 'EAGAIN', 'EPERM', 'EIO', 'ENOSYS']}

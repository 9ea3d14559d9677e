"""Drives one engine with tare and with its usual runtime, flow by flow, and compares what was observed.

With `--shim PATH` the two are tare under that containerd shim and tare under containerd's own.

A flow is a function of a client (the engine bound to one runtime). It does something, asserts what must be true
whatever the runtime, and returns what is to be the same with both. A flow that the usual runtime fails on this
machine (no CAP_SYS_RESOURCE, no device program, ...) cannot be held against tare: if tare passes, it passes; if
neither does, the flow is skipped, with the reason. A flow marked `must` has to pass with tare in any case.

Everything runs in a mount, network and process namespace of its own. When the script ends, by whatever way, the
kernel ends every process in there; the mounts are gone with them, and what is left are files and cgroups that carry
this run's name, which are removed.
"""
import argparse
import ctypes
import glob
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import in_guest  # noqa: E402
import in_suite  # noqa: E402

OWN_SHIM = 'containerd-shim-runc-v2'
DEBIAN_PATH = '/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin'  # Debian's engines before any other


class Failed(Exception):
    """An expectation of a flow that did not hold."""


class Skip(Exception):
    """This machine cannot do what the flow needs, whatever the runtime."""


def record_skip(program, test, reason):
    """Adds a skip to those that integration/test lists: by the file that it names or, in the emulated machine, in the output."""
    suite = os.environ.get('TARE_SUITE')
    line = '\t'.join((f'{program}@{suite}' if suite else program, test, 'flow', ' '.join(reason.split())))
    if suite:  # the file that is named is not to be seen from in there
        print(f'SKIP\t{line}', flush=True)
    elif 'TARE_SKIPS' in os.environ:
        with open(os.environ['TARE_SKIPS'], 'a') as file:
            file.write(line + '\n')
    elif 'TARE_TEST_GUEST' in os.environ:
        print(f'SKIP\tguest:{line}', flush=True)


def check(condition, text):
    if not condition:
        raise Failed(text)


class Result:
    """How a command ended."""

    def __init__(self, argv, status, out, err):
        self.argv, self.status, self.out, self.err = argv, status, out, err

    def ok(self):
        """Its standard output, without the spaces around it; it must have succeeded."""
        check(self.status == 0, f'{" ".join(self.argv[-6:])}: status {self.status}: {tail(self.err or self.out)}')
        return self.out.strip()


def tail(text, length=300):
    text = ' '.join(text.split())
    return text if len(text) <= length else '…' + text[-length:]


def call(*argv, stdin='', env=None, timeout=60, **more):
    """Runs a command to its end."""
    argv = [str(word) for word in argv]
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors='replace',
                              timeout=timeout * in_guest.SLOWER, env=env, **more)
    except subprocess.TimeoutExpired as late:
        out = (late.stdout or b'').decode(errors='replace') + (late.stderr or b'').decode(errors='replace')
        raise Failed(f'{" ".join(argv[-6:])}: no end after {timeout} s: {tail(out)}') from None
    return Result(argv, done.returncode, done.stdout, done.stderr)


def add_lines(work, **lines):
    """Adds to files of /etc, by mounting longer ones over them, in the sandbox alone."""
    for name, text in lines.items():
        path = f'{work}/{name}'
        with open(f'/etc/{name}') as old:
            text = old.read() + text
        with open(path, 'w') as new:
            new.write(text)
        call('mount', '--bind', path, f'/etc/{name}').ok()


def own_limits():
    """For containers.conf: our own limits in place of Buildah's, which root cannot have everywhere."""
    hard = {name: resource.getrlimit(number)[1] for name, number in
            (('nofile', resource.RLIMIT_NOFILE), ('nproc', resource.RLIMIT_NPROC))}
    words = ', '.join(f'"{name}={value}:{value}"' for name, value in hard.items())
    return f'[containers]\ndefault_ulimits = [{words}]\n'


def within(seconds, condition, what):
    """Waits until `condition()` is true, and gives back what it returned."""
    end = time.monotonic() + seconds * in_guest.SLOWER
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f'{what}: not within {seconds} s')
        time.sleep(0.05)


class Flow:
    def __init__(self, name, body, fast, must, since):
        self.name, self.body, self.fast, self.must, self.since = name, body, fast, must, since


class Flows:
    """The flows of an engine, in order; a decorator adds one. `since`: the engine's version that can do it first."""

    def __init__(self):
        self.all = []

    def __call__(self, name, fast=True, must=False, since=(0,)):
        def add(body):
            self.all.append(Flow(name, body, fast, must, since))
            return body
        return add


class Engine:
    """What each engine's script provides. `work` is a directory of this run alone."""
    name = ''
    usual = 'runc'
    program = ''  # the engine's own, which tells its version
    shims = False   # whether there is a shim of containerd to choose
    sample = ''  # which flows --sample takes: an expression
    options = None  # what was typed

    @staticmethod
    def arguments(parser):
        """Adds options of its own."""

    def __init__(self, work, runtimes):
        self.work, self.runtimes = work, runtimes
        self.processes = []

    def start(self):
        """Starts the daemons and loads the image."""

    def client(self, runtime):
        """The engine bound to 'tare' or to the usual runtime."""
        raise NotImplementedError

    def clean(self, client):
        """Removes what a flow has left."""

    def stop(self):
        for process in reversed(self.processes):
            end(process)

    def daemon(self, *argv, env=None):
        """Starts a daemon; its output goes to a file in the work directory."""
        log = open(os.path.join(self.work, os.path.basename(str(argv[0])) + '.log'), 'ab')
        process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env=env, start_new_session=True)
        self.processes.append(process)
        return process

    @property
    def shim(self):
        """The containerd shim that is compared with containerd's own, if that is what is compared."""
        return getattr(self.options, 'shim', None)

    def shim_path(self, name='containerd-shim-tare-v2'):
        """A PATH on which the given shim is found first, by this name, with tare beside it: as runc too, which is what
        containerd's own shim looks for when it is the one that is given."""
        directory = f'{self.work}/of-{name}'
        if not os.path.isdir(directory):
            os.mkdir(directory)
            shutil.copy(self.shim, f'{directory}/{name}')
            shutil.copy(self.options.tare, f'{directory}/tare')
            os.symlink('tare', f'{directory}/runc')
        return f'{directory}:{DEBIAN_PATH}'

    def log(self, lines):
        for name in sorted(os.listdir(self.work)):
            if name.endswith('.log'):
                with open(os.path.join(self.work, name), errors='replace') as file:
                    print(f'--- the end of {name}\n' + ''.join(file.readlines()[-lines:]), end='')


def end(process, seconds=15):
    """Ends a process that we started: asks, waits, then kills."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(engine_class, flows):
    options = arguments(engine_class)
    if 'TARE_WORK' in os.environ:
        sys.exit(table(engine_class, flows, options, os.environ['TARE_WORK']))
    sys.exit(sandbox(engine_class, options))


def arguments(engine_class):
    in_suite.enter()
    in_guest.enter()
    parser = argparse.ArgumentParser(description=f'{engine_class.name}: tare beside {engine_class.usual}')
    parser.add_argument('--tare', required=True, help='path of the tare binary')
    parser.add_argument('--usual', default=shutil.which(engine_class.usual, path=DEBIAN_PATH),
                        help=f'path of the other runtime ({engine_class.usual})')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--fast', action='store_true', help='only the fast flows (the default)')
    which.add_argument('--sample', action='store_true', help='a few of the fast ones')
    which.add_argument('--all', action='store_true', help='all flows')
    parser.add_argument('--cgroup2', action='store_true', help='mount cgroup2 alone at /sys/fs/cgroup, in the sandbox')
    parser.add_argument('--only', metavar='REGEX', help='only flows whose name matches')
    parser.add_argument('--verbose', action='store_true', help='show what was observed, and the logs at the end')
    parser.add_argument('--suite', metavar='NAME', help=in_suite.HELP)
    parser.add_argument('--guest', metavar='KERNEL', help=in_guest.HELP)
    if engine_class.shims:
        parser.add_argument('--shim', metavar='PATH', help="tare under this containerd shim beside tare under containerd's own")
    engine_class.arguments(parser)
    options = parser.parse_args()
    options.tare = os.path.abspath(options.tare)
    options.shim = os.path.abspath(options.shim) if getattr(options, 'shim', None) else None
    for path in (options.tare, options.usual, *([options.shim] if options.shim else [])):
        if not path or not os.access(path, os.X_OK):
            parser.error(f'no such program: {path}')
    return options


# The sandbox.

# Where shims have their sockets whatever the daemon's own directories, and runc its state: nobody else's is seen.
SHIMS = ' && '.join(f'mkdir -p /run/{name} && mount -t tmpfs -o mode=711 {name} /run/{name}' for name in ('containerd', 'docker'))
CGROUP2 = 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup'


def sandbox(engine_class, options):
    """Runs this same script in namespaces of its own, and removes what they leave."""
    if os.geteuid() != 0:
        print('containers are made: run this as root', file=sys.stderr)
        return 1
    work = tempfile.mkdtemp(prefix=f'tare-{engine_class.name}-')
    os.chmod(work, 0o711)  # a user namespace's root must be able to reach what is in there
    # /dev/shm of its own: Podman keeps its locks in there, under one name for everybody, and several engines run at once.
    prepare = ' && '.join(['mount -t tmpfs -o mode=1777 shm /dev/shm', 'mount --make-rshared /', 'ip link set lo up',
                           *([CGROUP2] if options.cgroup2 else []), *([SHIMS] if getattr(options, 'shim', None) else [])])
    # The shell is process 1 of the namespace: it takes in the orphans that an engine leaves.
    argv = ['unshare', '--mount', '--propagation', 'slave', '--net', '--pid', '--fork', '--kill-child',
            '--mount-proc', 'sh', '-c', prepare + ' || exit 1; "$@"; exit $?', 'sh', sys.executable] + sys.argv
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    inside = subprocess.Popen(argv, env=dict(os.environ, TARE_WORK=work, PATH=DEBIAN_PATH),
                              preexec_fn=die_with_parent)
    try:
        return inside.wait()
    finally:
        inside.kill()
        inside.wait()
        remove_cgroups(os.path.basename(work))
        # Podman's conmon makes directories and files where a hierarchy could be mounted and is not.
        for directory in glob.glob('/sys/fs/cgroup/*/' + os.path.basename(work)):
            shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def remove_cgroups(name):
    """Removes this run's cgroups in every hierarchy. Their processes are ending: rmdir is tried for a while."""
    for _ in range(100):
        left = [directory for directory in cgroups(name) if not remove_tree(directory)]
        if not left:
            return
        time.sleep(0.1)
    print(f'left behind: {" ".join(left)}', file=sys.stderr)


def cgroups(name):
    """The directories of that name, one in each cgroup hierarchy."""
    with open('/proc/self/mounts') as mounts:
        points = [line.split()[1] for line in mounts if line.split()[2] in ('cgroup', 'cgroup2')]
    return [os.path.join(point, name) for point in points if os.path.isdir(os.path.join(point, name))]


def remove_tree(directory):
    for path, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            return False
    return True


# The table.

def table(engine_class, flows, options, work):
    only = engine_class.sample if options.sample else options.only or ''
    wanted = [flow for flow in flows.all if (options.all or flow.fast or options.only) and re.search(only, flow.name)]
    runtimes = {'shim': options.tare, 'go': options.tare} if getattr(options, 'shim', None) else {
        'tare': options.tare, engine_class.usual: options.usual}
    if getattr(options, 'alone', False):
        runtimes = {'shim': options.tare}
    engine = engine_class(work, runtimes)
    engine.options = options
    sides = (*runtimes, 'none')[:2]
    counts, faults, began = {'ok': 0, 'FAIL': 0, 'SKIP': 0}, [], time.monotonic()
    broken = False
    try:
        engine.start()
        print(f'{"":6}{engine.name + " flow":44}{sides[0]:>8}{sides[1]:>8}', flush=True)
        for flow in wanted:
            verdict, note, seconds = too_old(engine, flow) or judge(engine, flow, sides, options.verbose)
            counts[verdict] += 1
            times = ''.join(f'{each:7.2f}s' for each in seconds)
            print(f'{verdict:6}{flow.name:44}{times}{"  " + note if note else ""}', flush=True)
            if verdict == 'SKIP':
                record_skip(engine.name, flow.name, note)
            if verdict == 'FAIL':
                faults.append(f'{flow.name}: {note}')
    except Failed as fault:
        print(f'{engine.name}: {fault}')
        counts['FAIL'] += 1
        faults.append(f'{fault}')
        broken = True
    finally:
        engine.stop()
        if options.verbose or broken:
            engine.log(lines=60)
    if engine.program and sides[1] != 'none' and not broken:
        report(engine, options, counts, began)
    for fault in faults:  # once more, where the end of a log shows it
        print(f'failed: {tail(fault, 600)}')
    print(f'{counts["ok"]} passed, {counts["FAIL"]} failed, {counts["SKIP"]} skipped')
    return 1 if counts['FAIL'] else 0


def version(program, option='--version'):
    """What `--version` says first that looks like one."""
    found = re.search(r'\d+(\.\d+)+', call(program, option).ok())
    check(found, f'{program} tells no version')
    return found.group()


def too_old(engine, flow):
    """The verdict on a flow that a newer engine is needed for."""
    if not any(flow.since) or tuple(map(int, version(engine.program).split('.'))) >= flow.since:
        return None
    return 'SKIP', f'needs {engine.program} {".".join(map(str, flow.since))}', ()


def report(engine, options, counts, began):
    """A line for integration/engines/tried: what was tried with what, and what came of it."""
    with open('/etc/os-release') as file:
        suite = re.search(r'^VERSION_CODENAME=(\w+)', file.read(), re.M).group(1)
    name, beside = engine.name, f'{engine.usual} {version(options.usual)}'
    if engine.shim:
        name = f'{name}, shim'
        beside = f'{OWN_SHIM} {version(shutil.which(OWN_SHIM, path=DEBIAN_PATH), "-v")}'
    words = (suite, name, version(engine.program), beside, *counts.values(), int(time.monotonic() - began))
    print('\t'.join(('TRIED', *map(str, words))))


class Outcome:
    """What one runtime made of one flow."""

    def __init__(self, engine, flow, runtime):
        self.seen = self.fault = self.skip = None
        client = engine.client(runtime)
        begin = time.monotonic()
        try:
            self.seen = flow.body(client)
        except Failed as fault:
            self.fault = str(fault)
        except Skip as skip:
            self.skip = str(skip)
        except Exception as fault:  # a flow that stumbles over what it got: the flow has failed, the table goes on
            self.fault = f'{type(fault).__name__}: {fault}'
        self.seconds = time.monotonic() - begin
        engine.clean(client)


def judge(engine, flow, sides, verbose):
    """(verdict, note, the seconds with each of the two)"""
    ours, other = sides
    mine = Outcome(engine, flow, ours)
    usual = mine if other == 'none' else Outcome(engine, flow, other)
    seconds = (mine.seconds, usual.seconds)
    if verbose:
        print(f'        {ours}: {mine.fault or mine.seen!r}\n        {other}: {usual.fault or usual.seen!r}')
    if mine.skip or usual.skip:
        return 'SKIP', mine.skip or usual.skip, seconds
    if mine.fault and usual.fault and not flow.must:
        return 'SKIP', f'neither can: {ours}: {tail(mine.fault, 160)}; {other}: {tail(usual.fault, 160)}', seconds
    if mine.fault:
        return 'FAIL', mine.fault, seconds
    if usual.fault:
        return 'ok', f'({other} cannot: {usual.fault})', seconds
    if mine.seen != usual.seen:
        return 'FAIL', f'differs: {ours} {mine.seen!r}, {other} {usual.seen!r}', seconds
    return 'ok', '', seconds

"""A place of its own for the commands of the pages: namespaces, a user, and a registry with two small images.

/etc, /usr/local and /var/lib lie over the machine's, and nothing of them is kept; there is no network but lo. `alpine` and
`busybox` come from the registry there, and are Debian's busybox; `localhost:5000/debian` has files of this machine's own.
"""
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'engines'))
import image  # noqa: E402

TERMINAL = re.compile('\x1b\\[[0-9;?]*[a-zA-Z]')
USER, UID, REGISTRY = 'me', 7117, '127.0.0.1:5000'


def enter(script, *words):
    """Runs a script again, in namespaces of its own, with --inside and a directory before its words; its status."""
    work = tempfile.mkdtemp(prefix='tare-docs-')
    try:
        return subprocess.run(['unshare', '--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation',
                               'private', sys.executable, script, '--inside', work, *words]).returncode
    finally:
        os.rmdir(work)


class Failed(Exception):
    pass


class Shell:
    """Runs commands as root or as the user, each in the directory in which the last one ended."""

    def __init__(self, work, user, verbose=False):
        self.verbose, self.bin = verbose, work + '/bin'
        self.user, self.cwd, self.end = user, f'/home/{USER}' if user else '/srv', f'{work}/{"user/" if user else ""}cwd'
        self.env = {'PATH': f'{self.bin}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8', 'TERM': 'xterm'}
        self.env.update({'HOME': self.cwd, 'XDG_RUNTIME_DIR': f'/run/user/{UID}', 'USER': USER} if user else {'HOME': '/root'})
        self.prefix = ['setpriv', f'--reuid={UID}', f'--regid={UID}', '--init-groups', '--inh-caps=-all'] if user else []

    def run(self, command, typed=None, steps=True, env=None, cwd=None):
        """Its status and what it printed, errors among it; with `steps` it ends at the first command that fails."""
        script = f'trap \'pwd > {self.end}\' EXIT\n{command}'
        argv = [*self.prefix, 'bash', *(['-euo', 'pipefail'] if steps else []), '-c', script]
        options = {'env': dict(self.env, **env or {}), 'cwd': cwd or self.cwd}
        if typed is not None:
            status, said = at_terminal(argv, typed, options)
        else:
            with tempfile.TemporaryFile() as out:  # no pipe: a container that stays would hold it open
                status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=900, **options).returncode
                out.seek(0)
                said = out.read().decode(errors='replace')
        if self.verbose:
            print(said)
        with open(self.end) as file:
            self.cwd = self.cwd if cwd else file.read().strip()
        return status, said


def at_terminal(argv, typed, options):
    """Runs a command at a terminal of its own, where each line is typed when it is quiet."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 118, 0, 0))
    child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **options)
    os.close(theirs)
    said, lines, limit = b'', list(typed), time.monotonic() + 60
    while True:
        ended = child.poll() is not None
        if select.select([ours], [], [], 0.1 if ended else 1 if lines else 0.02)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            said += part
        elif ended:  # what it left running may hold the terminal
            break
        elif lines:
            os.write(ours, lines.pop(0).encode() + b'\n')
        elif time.monotonic() > limit:
            child.kill()
            raise Failed(f'no end at the terminal: {said.decode(errors="replace")}')
    os.close(ours)
    return child.wait(), '\n'.join(map(visible, said.decode(errors='replace').split('\n')))


def visible(line):
    """What is left on the screen of a line that wrote over itself, as progress bars do."""
    left = ''
    for part in line.split('\r'):
        cleared = re.search('\x1b\\[2?K', part)
        left = TERMINAL.sub('', part) or ('' if cleared else left)
    return left


def prepare(tare, work):
    """Mounts of this namespace alone, a user, and a registry."""
    call('mount', '-t', 'tmpfs', 'tmpfs', work)
    for path in ('/etc', '/usr/local', '/var/lib'):
        upper, lower = f'{work}/upper{path}', f'{work}/work{path}'
        os.makedirs(upper), os.makedirs(lower)
        call('mount', '-t', 'overlay', 'overlay', '-o', f'lowerdir={path},upperdir={upper},workdir={lower}', path)
    os.makedirs('/var/lib/tare', exist_ok=True)
    for path in ('/run', '/home', '/srv', '/var/lib/tare'):
        call('mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', path)
    os.chmod(work, 0o755)
    os.makedirs(work + '/bin')
    for name in ('tare', 'tare-image'):
        shutil.copy(f'{os.path.dirname(tare)}/{name}', f'{work}/bin/{name}')
    write(f'{work}/bin/sudo', '#!/bin/sh\nexec "$@"\n', 0o755)
    call('ip', 'link', 'set', 'lo', 'up')
    for name, line in (('passwd', f'{USER}:x:{UID}:{UID}::/home/{USER}:/bin/sh'), ('group', f'{USER}:x:{UID}:'),
                       ('subuid', f'{USER}:100000:65536'), ('subgid', f'{USER}:100000:65536')):
        append('/etc/' + name, line + '\n')
    for path in (f'/home/{USER}', f'/run/user/{UID}', work + '/user'):
        os.makedirs(path)
        os.chmod(path, 0o700)
        os.chown(path, UID, UID)
    return serve(work)


def serve(work):
    """A registry with the images, which are found where the pages look for them."""
    write(work + '/registry.yml', f'version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n'
                                  f'http: {{addr: "{REGISTRY}"}}\n')
    os.makedirs('/etc/containers', exist_ok=True)
    write('/etc/containers/registries.conf', f'[[registry]]\nprefix = "docker.io"\nlocation = "{REGISTRY}"\ninsecure = true\n')
    with open(work + '/registry.log', 'w') as log:
        registry = subprocess.Popen(['docker-registry', 'serve', work + '/registry.yml'], stdout=log, stderr=log)
    archives = {name: image.archive(work, f'{name}:latest', ('/bin/sh',)) for name in ('alpine', 'busybox')}
    archives['debian'] = image.debian(work, 'debian:latest')
    places = [(archive, f'docker.io/library/{name}') for name, archive in archives.items()]
    for archive, place in [*places, (archives['debian'], 'localhost:5000/debian')]:
        for attempt in range(50):
            done = subprocess.run([f'{work}/bin/tare-image', 'pull', '--quiet', '--retries', '0', '--tls-verify=false',
                                   f'docker-archive:{archive}', f'docker://{place}:latest'], capture_output=True, text=True)
            if done.returncode == 0:
                break
            time.sleep(0.2)
        else:
            sys.exit(f'the registry did not take the image: {done.stderr}')
    return registry


def clean(shells):
    """No container and no file is left to the next page."""
    for shell in shells:
        shell.run('for id in $(tare list -q); do tare delete --force "$id"; done', cwd='/')
    for path in ('/srv', f'/home/{USER}'):
        for mount in sorted(under(path), reverse=True):
            subprocess.run(['umount', '-l', mount])
        for name in os.listdir(path):
            call('rm', '-rf', f'{path}/{name}')


def under(path):
    with open('/proc/self/mountinfo') as file:
        return [line.split()[4] for line in file if line.split()[4].startswith(path + '/')]


def call(*argv):
    subprocess.run(argv, check=True)


def write(path, text, mode=0o644):
    with open(path, 'w') as file:
        file.write(text)
    os.chmod(path, mode)


def append(path, text):
    with open(path, 'a') as file:
        file.write(text)

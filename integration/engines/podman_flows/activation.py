"""What systemd hands to a service, by way of Podman: NOTIFY_SOCKET and LISTEN_FDS."""
import os
import socket

from harness import call, check, within

from . import BOX, flow


class Supervisor:
    """The socket that a service tells of its state."""

    def __init__(self, it):
        self.path = f'{it.engine.shared}/notify-{it.runtime}'
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.setblocking(False)
        self.words = ''

    def heard(self, word):
        try:
            while True:
                self.words += self.socket.recv(4096).decode() + '\n'
        except BlockingIOError:
            return word in self.words


def told(it, mode, *command):
    """A detached container under a supervisor: both."""
    supervisor = Supervisor(it)
    result = call(*it.base, *it.words('-d', f'--sdnotify={mode}'), BOX, *command,
                  env=dict(it.engine.env, NOTIFY_SOCKET=supervisor.path))
    return supervisor, result.ok()


@flow('--sdnotify=container: the container says when it is ready')
def _(it):
    supervisor, name = told(it, 'container', 'sh', '-c', 'echo waits; while ! [ -e /go ]; do sleep 0.05; done; exec probe notify READY=1')
    within(10, lambda: 'waits' in it.podman('logs', name).out, 'it runs')
    check(not supervisor.heard('READY=1'), 'not ready yet')
    it.podman('exec', name, 'touch', '/go').ok()
    within(10, lambda: supervisor.heard('READY=1'), 'ready')
    check('MAINPID=' in supervisor.words, f'{supervisor.words!r}')


@flow('--sdnotify=conmon: ready when it runs, and the container is told of no socket')
def _(it):
    supervisor, name = told(it, 'conmon', 'sh', '-c', 'echo "socket: $NOTIFY_SOCKET."; sleep 1000')
    within(10, lambda: supervisor.heard('READY=1'), 'ready')
    within(10, lambda: it.podman('logs', name).out.strip() == 'socket: .', 'no socket inside')


@flow('--sdnotify=ignore')
def _(it):
    supervisor, name = told(it, 'ignore', 'sh', '-c', 'echo "socket: $NOTIFY_SOCKET."; sleep 1000')
    within(10, lambda: it.podman('logs', name).out.strip() == 'socket: .', 'no socket inside')
    check(not supervisor.heard('READY'), f'{supervisor.words!r}')


@flow('socket activation: the container answers on a socket of the host')
def _(it):
    server = socket.socket(socket.AF_UNIX)
    path = f'{it.engine.shared}/listen-{it.runtime}'
    if os.path.exists(path):
        os.unlink(path)
    server.bind(path)
    server.listen()
    # Descriptor 3 and the number of the process that it is meant for, as systemd hands them over.
    line = f'exec 3<&{server.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
    call('bash', '-c', line, 'bash', *it.base, *it.words('-d'), BOX, 'probe', 'accept', env=it.engine.env,
         pass_fds=(server.fileno(),)).ok()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        answer = client.recv(100).decode()
    check(answer == '1 own\n', f'{answer!r}')


@flow('run --preserve-fds')
def _(it):
    given, other = os.pipe()
    os.write(other, b'through\n')
    os.close(other)
    result = call('bash', '-c', f'exec 3<&{given}; exec "$@"', 'bash', *it.base, *it.words('--rm', '--preserve-fds', '1'), BOX,
                  'sh', '-c', 'cat <&3', env=it.engine.env, pass_fds=(given,))
    os.close(given)
    return result.ok()

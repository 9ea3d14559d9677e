"""Run, and its exit codes."""
from harness import check
from terminal import Terminal

from . import BOX, flow


@flow('run echo')
def _(it):
    check(it.box('echo', 'hello') == 'hello', 'the word comes out')


@flow('the runtime asked for is the one that ran')
def _(it):
    check(it.inspect(it.up(), '.OCIRuntime') == it.runtime, 'inspect says so')


@flow('exit code, the three streams')
def _(it):
    result = it.run('-i', BOX, 'sh', '-c', 'cat; echo error >&2; exit 7', stdin='given\n')
    check((result.status, result.out, result.err) == (7, 'given\n', 'error\n'),
          f'{result.status} {result.out!r} {result.err!r}')


@flow('missing command: 127')
def _(it):
    for command in ('no-such-command', '/no/such/file'):
        result = it.run(BOX, command)
        check(result.status == 127, f'{command}: status {result.status}: {result.err}')


@flow('directory, file without execute bit: 126')
def _(it):
    for command in ('/etc', '/etc/plain'):
        result = it.run(BOX, command)
        check(result.status == 126, f'{command}: status {result.status}: {result.err}')


@flow('-it: a terminal, its size, the keyboard')
def _(it):
    with Terminal(*it.base, *it.words('--rm', '-it'), BOX, 'sh', '-c',
                  'tty; trap "echo caught; exit 9" INT; echo up; while :; do sleep 0.1; done',
                  env=it.engine.env) as terminal:
        terminal.expect('/dev/pts/0')
        terminal.expect('up')
        terminal.type('\x03')
        terminal.expect('caught')
        check(terminal.end()[0] == 9, 'its own status comes back')


@flow('-it: window size follows')
def _(it):
    with Terminal(*it.base, *it.words('--rm', '-it'), BOX, 'probe', 'winch', rows=33, columns=99,
                  env=it.engine.env) as terminal:
        terminal.expect('33 99')
        terminal.resize_until_seen(41, 77)
        terminal.type('\x04')
        check(terminal.end()[0] == 0, 'ends with its input')

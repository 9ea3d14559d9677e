"""Terminals."""
from harness import call, check
from terminal import Terminal

from . import BOX, flow


@flow('-it through script')
def _(it):
    line = ' '.join((*it.base, *it.words('--rm', '-it'), BOX, 'sh', '-c', '"tty; test -t 0 && test -t 1 && echo both"'))
    result = call('script', '-qec', line, '/dev/null')
    seen = result.ok()
    check('/dev/pts/0' in seen and 'both' in seen, f'a terminal is there: {seen!r}')


@flow('-it: exit code, interrupt by the keyboard')
def _(it):
    with Terminal(*it.base, *it.words('--rm', '-it'), BOX, 'sh', '-c', 'trap "echo caught; exit 9" INT; echo up; '
                  'while :; do sleep 0.1; done') as terminal:
        terminal.expect('up')
        terminal.type('\x03')
        terminal.expect('caught')
        check(terminal.end()[0] == 9, 'the shell\'s own status comes back')


@flow('-it: window size follows')
def _(it):
    with Terminal(*it.base, *it.words('--rm', '-it'), BOX, 'probe', 'winch', rows=33, columns=99) as terminal:
        terminal.expect('33 99')
        terminal.resize_until_seen(41, 77)
        terminal.type('\x04')
        check(terminal.end()[0] == 0, 'ends with its input')


@flow('attach and detach by keys')
def _(it):
    name = it.up('-it', command=('sh',))
    with Terminal(*it.base, 'attach', name) as terminal:
        terminal.type('echo answer$((40+2))\r')
        terminal.expect('answer42')
        terminal.type('\x10\x11')  # ctrl-p ctrl-q
        status, _ = terminal.end()
    check(it.status(name) == 'running', 'the container goes on')
    return status

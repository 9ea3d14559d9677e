"""Exec, and `tare debug` of what Podman runs."""
import os

from harness import call, check, within
from terminal import Terminal

from . import flow


@flow('exec: output, exit code, environment')
def _(it):
    name = it.up('-e', 'OUTER=1')
    result = it.podman('exec', '-e', 'INNER=2', '-w', '/tmp', '-u', 'tester', name, 'sh', '-c',
                       'echo $OUTER $INNER $FROM_IMAGE $PWD; id; exit 6')
    check(result.status == 6, f'status {result.status}: {result.err}')
    return result.out


@flow('exec -i, exec -d')
def _(it):
    name = it.up()
    check(it.podman('exec', '-i', name, 'cat', stdin='given').ok() == 'given', 'input comes through')
    it.podman('exec', '-d', name, 'sh', '-c', 'echo done > /tmp/mark').ok()
    within(10, lambda: it.podman('exec', name, 'cat', '/tmp/mark').out.strip() == 'done', 'it has run')


@flow('exec -it')
def _(it):
    name = it.up()
    with Terminal(*it.base, 'exec', '-it', name, 'sh', '-c', 'tty; exit 5', env=it.engine.env) as terminal:
        terminal.expect('/dev/pts/')
        check(terminal.end()[0] == 5, 'its own status comes back')


@flow('exec: missing command, directory')
def _(it):
    name = it.up()
    statuses = [it.podman('exec', name, command).status for command in ('no-such-command', '/no/such', '/etc', '/etc/plain')]
    # Podman 5 knows no text of runc's for a directory (255).
    return [126 if status == 255 and it.runtime == 'runc' else status for status in statuses]


@flow('exec --preserve-fds', fast=False)
def _(it):
    name = it.up()
    given, other = os.pipe()
    os.write(other, b'through\n')
    os.close(other)
    line = f'exec 3<&{given}; exec "$@"'
    result = call('bash', '-c', line, 'bash', *it.base, 'exec', '--preserve-fds', '1', name, 'sh', '-c', 'cat <&3',
                  env=it.engine.env, pass_fds=(given,))
    os.close(given)
    return result.ok()


@flow('tare debug, by the beginning of an id')
def _(it):
    name = it.podman('inspect', '-f', '{{.Id}}', it.up()).ok()
    script = 'test "$(readlink /proc/1/root)" = / && test -x /container/bin/busybox && touch /container/seen && ! touch /usr/seen; exit 9'
    result = call(it.engine.runtimes['tare'], 'debug', name[:12], '--', 'sh', '-c', script, env=it.engine.env)
    check(result.status == 9, f'status {result.status}: {result.err}')
    it.podman('exec', name, 'test', '-e', '/seen').ok()

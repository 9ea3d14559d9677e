"""Exec, and `tare debug` of what the engine runs."""
import glob
import os

import inside
from harness import call, check, within

from . import flow


@flow('exec: output, exit code, environment')
def _(it):
    name = it.up('-e', 'OUTER=1')
    result = it.docker('exec', '-e', 'INNER=2', '-w', '/tmp', name, 'sh', '-c', 'echo $OUTER $INNER $FROM_IMAGE $PWD; exit 6')
    check(result.status == 6, f'status {result.status}: {result.err}')
    return result.out


@flow('exec -u')
def _(it):
    return it.docker('exec', '-u', 'tester', it.up(), 'id').ok()


@flow('exec -i: standard input')
def _(it):
    check(it.docker('exec', '-i', it.up(), 'cat', stdin='given').ok() == 'given', 'input comes through')


@flow('exec -it through script')
def _(it):
    name = it.up()
    line = ' '.join((*it.base, 'exec', '-it', name, 'sh', '-c', '"tty; exit 5"'))
    result = call('script', '-qec', line, '/dev/null')
    check(result.status == 5 and '/dev/pts/' in result.out, f'status {result.status}: {result.out!r}')


@flow('exec -d')
def _(it):
    name = it.up()
    it.docker('exec', '-d', name, 'sh', '-c', 'echo done > /tmp/mark').ok()
    within(10, lambda: it.docker('exec', name, 'cat', '/tmp/mark').out.strip() == 'done', 'it has run')


@flow('exec: missing command, directory')
def _(it):
    name = it.up()
    missing, directory = it.docker('exec', name, 'no-such-command'), it.docker('exec', name, '/etc')
    check(missing.status in (126, 127), f'missing: {missing.status}: {missing.err}')  # by the version of Docker
    check(directory.status == 126, f'directory: {directory.status}: {directory.err}')
    return missing.status


@flow('exec --privileged', must=True)
def _(it):
    name = it.up()
    plain = inside.capabilities(it.docker('exec', name, 'cat', '/proc/self/status').ok())
    more = inside.capabilities(it.docker('exec', '--privileged', name, 'cat', '/proc/self/status').ok())
    check(more['CapEff'] & 1 << 21 and not plain['CapEff'] & 1 << 21, 'CAP_SYS_ADMIN only when privileged')


@flow('exec has the container\'s confinement')
def _(it):
    name = it.up('--security-opt', 'no-new-privileges', '--cap-drop', 'ALL')
    return inside.confinement(it.docker('exec', name, 'cat', '/proc/self/status').ok())


@flow('tare debug, by the beginning of an id')
def _(it):
    name = it.up('--cap-drop', 'ALL')
    # A shim that is named without options has its containers where containerd's own has them.
    places = [*glob.glob(f'{it.engine.main(it.runtime).home}/exec/runtime-*/moby/{name}'), f'/run/containerd/runc/moby/{name}']
    root = os.path.dirname(next(place for place in places if os.path.exists(place)))
    script = 'test "$(readlink /proc/1/root)" = / && test -x /container/bin/busybox && touch /container/seen && ! touch /usr/seen; exit 9'
    result = call(it.engine.options.tare, '--root', root, 'debug', name[:12], '--', 'sh', '-c', script)
    check(result.status == 9, f'status {result.status}: {result.err}')
    it.docker('exec', name, 'test', '-e', '/seen').ok()
    within(10, lambda: len(it.docker('top', name).out.splitlines()) == 2, 'the first process is alone again')
    it.docker('pause', name).ok()
    paused = call(it.engine.options.tare, '--root', root, 'debug', name[:12], 'true')
    check(paused.status == 255 and 'is paused' in paused.err, f'paused: {paused.status}: {paused.err}')
    it.docker('unpause', name).ok()

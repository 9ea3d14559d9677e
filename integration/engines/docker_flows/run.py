"""Run, and its exit codes."""
from harness import check

from . import BOX, flow


@flow('run echo')
def _(it):
    check(it.box('echo', 'hello') == 'hello', 'the word comes out')


@flow('the image\'s own command and environment')
def _(it):
    check(it.box() == 'from the image', 'the command of the image has run')
    return it.box('sh', '-c', 'env | grep -v HOSTNAME | sort; pwd')


@flow('exit code of the process')
def _(it):
    check(it.run(BOX, 'sh', '-c', 'exit 7').status == 7, 'status 7 comes back')


@flow('exit code of a killed process')
def _(it):
    result = it.run(BOX, 'sh', '-c', "sh -c 'kill -9 $$'; exit $?")
    check(result.status == 137, f'status {result.status} instead of 137')


@flow('standard input through -i')
def _(it):
    result = it.run('-i', BOX, 'sh', '-c', 'cat; echo error >&2', stdin='line one\nline two\n')
    check((result.ok(), result.err.strip()) == ('line one\nline two', 'error'), 'the three streams are apart')


@flow('missing command: 127')
def _(it):
    result = it.run(BOX, 'no-such-command')
    check(result.status == 127, f'status {result.status}: {result.err}')
    check('executable file not found' in result.err, f'the reason is told: {result.err}')


@flow('missing path: 127')
def _(it):
    result = it.run(BOX, '/no/such/file')
    check(result.status == 127, f'status {result.status}: {result.err}')


@flow('directory as command: 126')
def _(it):
    result = it.run(BOX, '/etc')
    check(result.status == 126, f'status {result.status}: {result.err}')


@flow('file without execute bit: 126')
def _(it):
    result = it.run(BOX, '/etc/plain')
    check(result.status == 126, f'status {result.status}: {result.err}')
    check('permission denied' in result.err.lower(), f'the reason is told: {result.err}')


@flow('missing working directory is made')
def _(it):
    return it.box('sh', '-c', 'pwd; stat -c "%a %u" .', options=['-w', '/made/here'])

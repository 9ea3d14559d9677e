"""The shim's service, called as containerd calls it: order, codes, events, streams. No containerd is there."""
import fcntl
import os
import signal
import socket
import time

from harness import Failed, call, check, within
from ttrpc import REQUEST, Refused, Shim, frame

from . import fifo, flow, read_until, servers

CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4
LIFE = ['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']


@flow('a life: states, numbers, events in their order', must=True)
def _(it):
    box = it.bare('sh', '-c', 'exit 7').create()
    seen = [box.call('State')['status'], box.call('Connect')['task_pid'] == box.pid]
    check(box.call('Start')['pid'] == box.pid, 'the same process')
    check(box.call('Wait')['exit_status'] == 7, 'its status')
    state = box.call('State')
    check((state['status'], state['exit_status'], state['pid']) == (STOPPED, 7, box.pid), f'{state}')
    gone = box.call('Delete')
    check((gone['pid'], gone['exit_status']) == (box.pid, 7), f'{gone}')
    within(60, lambda: len(box.events.seen) >= 4, f'four events: {box.events.topics()}')
    check(box.events.topics() == LIFE, f'{box.events.topics()}')
    check(box.events.exits() == [(box.id, 7)], f'{box.events.exits()}')
    box.call('Shutdown', now=True)
    box.ended()
    check(not os.path.exists(box.address.replace('unix://', '')), 'its socket is gone')
    return seen


@flow('an exec: states, events in their order', must=True)
def _(it):
    box = it.bare().up()
    box.exec('one', 'sh', '-c', 'exit 5')
    seen = [box.call('State', exec_id='one')['status']]
    box.call('Start', exec_id='one')
    check(box.call('Wait', exec_id='one')['exit_status'] == 5, 'its status')
    seen.append(box.call('State', exec_id='one')['status'])
    check(box.call('Delete', exec_id='one')['exit_status'] == 5, 'its status again')
    within(60, lambda: len(box.events.exits()) == 1, 'its end is told')
    seen += [box.code('State', exec_id='one'), box.events.topics(), box.events.exits()]
    box.end()
    return seen


@flow('every call at the wrong time has the code that containerd waits for', must=True)
def _(it):
    box = it.bare()
    every = ('State', 'Start', 'Kill', 'Pids', 'Pause', 'Resume', 'Stats', 'Wait', 'Delete', 'ResizePty', 'CloseIO')
    seen = {'before create': {name: box.code(name) for name in every}}
    box.create()
    seen['created'] = {'Create': box.code('Create', **box.create_fields()), 'Resume': box.code('Resume')}
    box.call('Start')
    seen['running'] = {'Start': box.code('Start'), 'Delete': box.code('Delete'), 'Create': box.code('Create', **box.create_fields()),
                       'exec unknown': box.code('Start', exec_id='no'), 'state unknown': box.code('State', exec_id='no'),
                       'kill unknown': box.code('Kill', exec_id='no', signal=9), 'wait unknown': box.code('Wait', exec_id='no'),
                       'delete unknown': box.code('Delete', exec_id='no'), 'resize': box.code('ResizePty', width=80, height=24)}
    box.exec('one', 'sleep', '1000')
    seen['exec'] = {'again': box.code('Exec', **box.exec_fields('one', 'true')), 'kill early': box.code('Kill', exec_id='one', signal=9)}
    box.exec('two', 'sleep', '1000')
    box.call('Start', exec_id='two')
    seen['exec runs'] = {'start': box.code('Start', exec_id='two'), 'delete': box.code('Delete', exec_id='two')}
    box.call('Kill', signal=9)
    box.call('Wait')
    seen['stopped'] = {name: box.code(name, **more) for name, more in (
        ('Start', {}), ('Kill', {'signal': 9}), ('Pause', {}), ('Wait', {}), ('State', {}))}
    seen['stopped']['Exec'] = box.code('Exec', **box.exec_fields('late', 'true'))
    seen['delete'] = {'first': box.code('Delete'), 'second': box.code('Delete')}
    box.code('Shutdown', now=True)
    box.ended()
    for moment, expected in CODES.items():
        check(seen[moment] == expected or it.runtime == 'go' and seen[moment] == unnamed(expected), f'{moment}: {seen[moment]}, and not {expected}')


def unnamed(expected):
    """containerd's own shim names few of its refusals."""
    named = ('OK', 'NOT_FOUND')
    return {name: code if code in named or (name, code) in NAMED else 'UNKNOWN' for name, code in expected.items()}


NAMED = (('again', 'ALREADY_EXISTS'), ('kill early', 'FAILED_PRECONDITION'))
CODES = {
    'before create': dict.fromkeys(('State', 'Start', 'Kill', 'Pids', 'Pause', 'Resume', 'Stats', 'Wait', 'Delete', 'ResizePty', 'CloseIO'),
                                   'NOT_FOUND'),
    'created': {'Create': 'ALREADY_EXISTS', 'Resume': 'FAILED_PRECONDITION'},
    'running': {'Start': 'FAILED_PRECONDITION', 'Delete': 'FAILED_PRECONDITION', 'Create': 'ALREADY_EXISTS',
                'exec unknown': 'NOT_FOUND', 'state unknown': 'NOT_FOUND', 'kill unknown': 'NOT_FOUND', 'wait unknown': 'NOT_FOUND',
                'delete unknown': 'NOT_FOUND', 'resize': 'OK'},
    'exec': {'again': 'ALREADY_EXISTS', 'kill early': 'FAILED_PRECONDITION'},
    'exec runs': {'start': 'FAILED_PRECONDITION', 'delete': 'FAILED_PRECONDITION'},
    'stopped': {'Start': 'FAILED_PRECONDITION', 'Kill': 'NOT_FOUND', 'Pause': 'FAILED_PRECONDITION', 'Wait': 'OK', 'State': 'OK',
                'Exec': 'FAILED_PRECONDITION'},
    'delete': {'first': 'OK', 'second': 'NOT_FOUND'},
}


@flow('delete and shutdown twice', must=True)
def _(it):
    box = it.bare().up()
    box.call('Kill', signal=9)
    box.call('Wait')
    second = Shim(box.address)
    check([box.code('Delete'), box.code('Delete')] == ['OK', 'NOT_FOUND'], 'the second Delete')
    check(not os.path.exists(box.address.replace('unix://', '')), 'the socket goes with the last container')
    for each in (box.connection, second):
        try:
            each.send('Shutdown', id=box.id, now=True)
        except OSError:
            pass  # it has ended already
    box.ended()
    for _ in range(2):
        done = box.delete_command()
        check(done.returncode == 0, f'the command delete: {done.returncode}: {done.stderr.decode()[-200:]}')
    check(box.events.exits() == [(box.id, 137)], f'{box.events.exits()}')


@flow('a shim that never got a task goes with the delete that follows', must=True)
def _(it):
    box = it.bare()
    check(len(box.servers()) == 1, 'it serves')
    box.connection.close()
    done = box.delete_command()
    check(done.returncode == 0, f'status {done.returncode}: {done.stderr.decode()[-200:]}')
    box.ended(20)
    check(not os.path.exists(box.address.replace('unix://', '')), 'its socket is gone')


@flow('a shim that never got a task ends by itself, whoever is connected', fast=False, must=True)
def _(it):
    it.bare().ended(45)


@flow('a shim whose container has ended and lost its bundle ends by itself, whoever is connected', fast=False, must=True)
def _(it):
    box = it.bare('true').up()
    box.call('Wait')
    server = box.servers()[0]
    os.rename(box.bundle, box.bundle + '-away')
    within(60, lambda: not os.path.exists(f'/proc/{server}') or server not in box.servers(), 'it has ended')
    os.rename(box.bundle + '-away', box.bundle)
    check(not os.path.exists(box.address.replace('unix://', '')), 'its socket is gone')


@flow('shutdown of a shim that never got a task', must=True)
def _(it):
    box = it.bare()
    box.code('Shutdown', now=True)
    box.ended(20)


@flow('a shim killed at work: delete ends the container', must=True)
def _(it):
    box = it.bare().up()
    os.kill(box.servers()[0], signal.SIGKILL)
    done = box.delete_command()
    check(done.returncode == 0, f'status {done.returncode}: {done.stderr.decode()[-200:]}')
    within(60, lambda: not os.path.exists(f'/proc/{box.pid}'), 'the first process has ended')
    left = [path for path, _, files in os.walk(box.options['root']) if files or path.endswith(box.id)]
    check(not left, f'state: {left}')


@flow('a shim killed as its bundle is removed: delete removes its socket', must=True)
def _(it):
    box = it.bare()
    socket_path = box.address.replace('unix://', '')
    box.code('State')  # from its first call on, nobody else removes the socket
    os.kill(box.servers()[0], signal.SIGKILL)
    within(60, lambda: not box.servers(), 'it is killed')
    time.sleep(0.2)
    check(os.path.exists(socket_path), 'its socket is there')
    os.rename(box.bundle, box.bundle + '-away')
    done = box.delete_command(cwd='/')
    os.rename(box.bundle + '-away', box.bundle)
    check(done.returncode == 0, f'status {done.returncode}: {done.stderr.decode()[-200:]}')
    check(not os.path.exists(socket_path), 'its socket is gone')


@flow('a shim killed before its first call: its socket goes without a delete', fast=False, must=True)
def _(it):
    box = it.bare()
    os.kill(box.servers()[0], signal.SIGKILL)
    within(20, lambda: not os.path.exists(box.address.replace('unix://', '')), 'its socket is gone')


@flow('start for a second container of a pod is the same shim', must=True)
def _(it):
    sandbox = {'annotations': {'io.kubernetes.cri.container-type': 'sandbox', 'io.kubernetes.cri.sandbox-id': 'the-pod-' + it.runtime}}
    one = it.bare(spec=dict(sandbox))
    two = it.bare(spec={'annotations': {'io.kubernetes.cri.container-type': 'container',
                                        'io.kubernetes.cri.sandbox-id': 'the-pod-' + it.runtime}})
    check(one.address == two.address, f'{one.address} {two.address}')
    check(len(servers()) == 1, f'one shim: {servers()}')
    one.up()
    two.up()
    two.call('Kill', signal=9)
    two.call('Wait')
    two.call('Delete')
    two.code('Shutdown')
    check(one.call('State')['status'] == RUNNING, 'the other goes on')
    one.call('Kill', signal=9)
    one.call('Wait')
    one.call('Delete')
    one.code('Shutdown')
    one.ended()


@flow('the service being away: every event is told later, in order', must=True)
def _(it):
    box = it.bare('sh', '-c', 'sleep 0.3; exit 9').create()
    box.events.close()
    box.call('Start')
    check(box.call('Wait')['exit_status'] == 9, 'its end is known')
    box.call('Delete')
    time.sleep(1)
    box.events.open()
    within(60, lambda: '/tasks/delete' in box.events.topics(), f'the last: {box.events.topics()}')
    check(box.events.topics() == LIFE, f'{box.events.topics()}')
    check(box.events.exits() == [(box.id, 9)], f'{box.events.exits()}')
    box.code('Shutdown', now=True)
    box.ended()


@flow('two waits and a kill at once', must=True)
def _(it):
    box = it.bare().up()
    waits = [box.connection.send('Wait', id=box.id) for _ in range(20)]
    kills = [box.connection.send('Kill', id=box.id, signal=9) for _ in range(5)]
    codes = set()
    for wait in waits:
        check(box.connection.answer('Wait', wait)['exit_status'] == 137, 'each has the status')
    for kill in kills:
        try:
            box.connection.answer('Kill', kill)
        except Refused as refused:
            codes.add(refused.code)
    check(codes <= {'NOT_FOUND'}, f'{codes}')
    within(60, lambda: box.events.exits(), 'it is told')
    check(box.events.exits() == [(box.id, 137)], f'{box.events.exits()}')
    box.end()


@flow('two creates at once: one is refused', must=True)
def _(it):
    box = it.bare()
    answers = [box.connection.send('Create', id=box.id, **box.create_fields()) for _ in range(3)]
    codes = []
    for answer in answers:
        try:
            box.connection.answer('Create', answer)
            codes.append('OK')
        except Refused as refused:
            codes.append(refused.code)
    check(codes.count('OK') == 1, f'{codes}')
    box.code('Start')
    box.end()


@flow('a torn frame, a frame of 4 MiB, a frame that is too long, another service: the rest goes on', must=True)
def _(it):
    box = it.bare().up()
    seen = []
    for data in (b'\0\0', frame(1, REQUEST, b'x' * 20)[:15], frame(1, REQUEST, b'\xff' * 100), frame(1, REQUEST, b'\0' * (4 << 20)),
                 frame(1, 9, b''), b'\xff' * 64, frame(2, REQUEST, b'')):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(box.address.replace('unix://', ''))
            one.settimeout(5)
            try:
                one.sendall(data)
            except OSError:
                pass
        check(box.call('State')['status'] == RUNNING, 'it answers still')
    stranger = Shim(box.address)
    stranger.service = 'no.such.Service'
    seen.append(stranger.code('State', id=box.id))
    stranger.close()
    box.end()
    return seen


@flow('a client that never reads its answers stops nobody else', must=True)
def _(it):
    box = it.bare().up()
    deaf = Shim(box.address)
    deaf.socket.setblocking(False)
    for _ in range(20000):
        try:
            deaf.send('State', id=box.id)
        except OSError:
            break
    check(box.call('State')['status'] == RUNNING, 'State')
    check(box.finish('one', 'true') == 0, 'an exec')
    deaf.close()
    box.end()


# Streams.

@flow('output that comes with the end is all there, before the end is told', must=True)
def _(it):
    for number in range(10):
        path = f'{it.engine.work}/{it.runtime}-out-{number}'
        out = fifo(path)
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, 1 << 20)  # small pieces take a place each
        box = it.bare('sh', '-c', 'yes 0123456 | head -c 60000; echo end', streams=('', path, path)).up()
        box.call('Wait')
        try:
            data = os.read(out, 1 << 20)
        except BlockingIOError:
            data = b''
        check(data.endswith(b'end\n') and len(data) >= 60004, f'{len(data)} bytes: {data[-20:]!r}')
        box.end()
        os.close(out)
        os.unlink(path)


@flow('a megabyte through standard input and back', must=True)
def _(it):
    paths = [f'{it.engine.work}/{it.runtime}-{name}' for name in ('in', 'back')]
    source, back = [fifo(path) for path in paths]
    box = it.bare('cat', streams=(paths[0], paths[1], paths[1])).create()
    box.call('Start')
    data, sent, got = bytes(range(256)) * 4096, 0, bytearray()
    end = time.monotonic() + 60
    while len(got) < len(data):
        for act in (lambda: os.write(source, data[sent:sent + 65536]) if sent < len(data) else 0, lambda: got.extend(os.read(back, 1 << 20)) or 0):
            try:
                sent += act() or 0
            except BlockingIOError:
                pass
        check(time.monotonic() < end, f'{sent} in, {len(got)} out')
    check(bytes(got) == data, 'the same bytes')
    check(box.call('State')['status'] == RUNNING, 'its input is open')
    os.close(source)
    box.call('CloseIO', stdin=True)
    check(box.call('Wait')['exit_status'] == 0, 'its input ended')
    box.end()
    os.close(back)


@flow('a reader that goes away: the container writes on', must=True)
def _(it):
    path, mark = f'{it.engine.work}/{it.runtime}-gone', f'{it.engine.root}/tmp/mark-{it.runtime}'
    os.mkfifo(path)
    os.mkfifo(path + '-errors')
    out = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    box = it.bare('sh', '-c', f'echo up; while [ ! -e /tmp/go-{it.runtime} ]; do sleep 0.05; done; '
                              f'yes 0123456 | head -c 1000000; touch /tmp/mark-{it.runtime}; sleep 1000', streams=('', path, path + '-errors')).up()
    read_until(out, lambda seen: b'up' in seen)
    os.close(out)
    with open(f'{it.engine.root}/tmp/go-{it.runtime}', 'w'):
        pass
    try:
        within(60, lambda: os.path.exists(mark), 'what is behind the writes')
        box.end()
    finally:
        for name in (mark, f'{it.engine.root}/tmp/go-{it.runtime}'):
            if os.path.exists(name):
                os.unlink(name)


@flow('one write error of a log file: the container writes on, and so does the log', must=True)
def _(it):
    small = f'{it.engine.work}/{it.runtime}-small'
    os.mkdir(small)
    call('mount', '-t', 'tmpfs', '-o', 'size=64k', 'small', small).ok()
    mark = f'{it.engine.root}/tmp/full-{it.runtime}'
    go = f'{it.engine.root}/tmp/room-{it.runtime}'
    try:
        with open(small + '/filler', 'wb') as file:
            file.write(b'\0' * 32768)
        log = f'{small}/log'
        box = it.bare('sh', '-c', f'yes 0123456 | head -c 500000; touch /tmp/full-{it.runtime}; '
                                  f'while [ ! -e /tmp/room-{it.runtime} ]; do sleep 0.05; done; echo last; sleep 1000',
                      streams=('', f'file://{log}', f'file://{log}')).up()
        within(60, lambda: os.path.exists(mark), 'what is behind the writes')
        os.unlink(small + '/filler')
        with open(go, 'w'):
            pass

        def last():
            with open(log, 'rb') as file:
                return b'last' in file.read()
        within(60, last, 'the last line is in the log, which has room again')
        box.end()
    finally:
        call('umount', '-l', small)
        for name in (mark, go):
            if os.path.exists(name):
                os.unlink(name)


@flow('a terminal: output, size, input, end', must=True)
def _(it):
    paths = [f'{it.engine.work}/{it.runtime}-tty-{name}' for name in ('in', 'out')]
    source, out = [fifo(path) for path in paths]
    box = it.bare('probe', 'winch', streams=(paths[0], paths[1], ''), terminal=True).up()
    read_until(out, lambda seen: b'\n' in seen)

    def resized():
        box.call('ResizePty', width=77, height=41)
        try:
            return b'41 77' in os.read(out, 65536)
        except BlockingIOError:
            return False
    within(60, resized, 'its new size')
    os.write(source, b'\x04')
    status = box.call('Wait')['exit_status']
    box.end()
    os.close(source)
    os.close(out)
    return status


@flow('an exec whose child holds the output: its end is told', must=True)
def _(it):
    path = f'{it.engine.work}/{it.runtime}-held'
    out = fifo(path)
    box = it.bare().up()
    box.exec('one', 'sh', '-c', 'sleep 1000 & echo said; exit 3', streams=('', path, path))
    box.call('Start', exec_id='one')
    begin = time.monotonic()
    try:
        status = box.call('Wait', exec_id='one', timeout=60)['exit_status']
    except Failed:
        status = 'never'
    told = time.monotonic() - begin
    check(status == 3, f'Wait: {status}')
    check(b'said' in read_until(out, lambda seen: b'said' in seen), 'its word')
    box.code('Delete', exec_id='one')
    box.end()
    os.close(out)
    check(told < 9, f'{told:.1f} s')  # ten is what a stream that somebody holds may cost at the most


# Many.

@flow('a hundred execs, ten at a time: each its status and its end; threads and memory stay', must=True)
def _(it):
    box = it.bare().up()
    box.finish('first', 'true')
    before = box.threads()
    for turn in range(10):
        names = [f'e-{turn}-{number}' for number in range(10)]
        for name in names:
            box.exec(name, 'sh', '-c', f'exit {turn + 1}')
        for name in names:
            box.connection.send('Start', id=box.id, exec_id=name)
        for name in names:
            within(60, lambda name=name: box.call('State', exec_id=name)['status'] != CREATED, f'{name} is started')
            check(box.call('Wait', exec_id=name)['exit_status'] == turn + 1, name)
            box.call('Delete', exec_id=name)
    within(60, lambda: len(box.events.exits()) >= 101, f'{len(box.events.exits())} ends are told')
    check(len(set(box.events.exits())) == len(box.events.exits()) == 101, f'{len(box.events.exits())}: each once')
    threads = box.threads()
    box.end()
    check(threads <= before + 1, f'{before} threads before, {threads} after')


@flow('the first process ends while execs are starting: its end is told once', must=True)
def _(it):
    for number in range(8):
        box = it.bare('sh', '-c', f'sleep 0.0{number}; exit 4').create()
        for each in range(6):
            box.exec(f'e{each}', 'sleep', '1000')
        box.connection.send('Start', id=box.id)
        for each in range(6):
            box.connection.send('Start', id=box.id, exec_id=f'e{each}')
        check(box.call('Wait', timeout=60)['exit_status'] == 4, 'its status')
        within(60, lambda: (box.id, 4) in box.events.exits(), f'its end is told: {box.events.topics()}')
        check(box.events.exits().count((box.id, 4)) == 1, 'once')
        box.end()


@flow('state is not held up by a create that is under way', must=True)
def _(it):
    begun, go = (f'{it.engine.work}/{it.runtime}-{name}' for name in ('begun', 'go'))
    wrapper = slow_runtime(it, 'create', f'touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done')
    annotations = {'io.kubernetes.cri.container-type': 'sandbox', 'io.kubernetes.cri.sandbox-id': 'slow-' + it.runtime}
    one = it.bare(spec={'annotations': annotations}).up()
    two = it.bare(spec={'annotations': dict(annotations, **{'io.kubernetes.cri.container-type': 'container'})}, wrapper=wrapper)
    created = two.connection.send('Create', id=two.id, **two.create_fields())
    within(60, lambda: os.path.exists(begun), 'the create is under way')
    check(one.call('State')['status'] == RUNNING, 'State of the other')
    check(one.finish('meanwhile', 'true') == 0, 'an exec in the other')
    check(created.empty(), 'the create is still under way')
    with open(go, 'w'):
        pass
    two.connection.answer('Create', created)
    for each in (one, two):
        each.code('Kill', signal=9)


def slow_runtime(it, verb, wait):
    """A runtime that waits before one command."""
    path = f'{it.engine.work}/slow-{it.runtime}-{verb}'
    with open(path, 'w') as file:
        file.write(f'#!/bin/sh\ncase " $* " in *" {verb} "*) {wait};; esac\nexec {it.engine.options.tare} "$@"\n')
    os.chmod(path, 0o755)
    return path


@flow('a runtime that hangs in delete: there is an answer', fast=False, must=True)
def _(it):
    box = it.bare(wrapper=slow_runtime(it, 'delete', 'sleep 600')).up()
    box.call('Kill', signal=9)
    box.call('Wait')
    begin = time.monotonic()
    code = 'none'
    try:
        box.call('Delete', timeout=90)
        code = 'OK'
    except Refused as refused:
        code = refused.code
    check(code != 'none' and time.monotonic() - begin < 90, code)


@flow('a bundle without config.json, an option of an unknown type, a runtime that is not there', must=True)
def _(it):
    seen = []
    box = it.bare()
    os.rename(box.bundle + '/config.json', box.bundle + '/away')
    seen.append(box.code('Create', **box.create_fields()) != 'OK')
    os.rename(box.bundle + '/away', box.bundle + '/config.json')
    fields = box.create_fields()
    seen.append(box.code('Create', **dict(fields, options={'type_url': 'no.such.Type', 'value': b'\xff\xff'})) != 'OK')
    box.code('Delete')
    box.code('Shutdown', now=True)
    box.ended()
    other = it.bare(wrapper='/no/such/runtime')
    seen.append(other.code('Create', **other.create_fields()) != 'OK')
    seen.append(other.code('State'))
    other.code('Shutdown', now=True)
    other.ended()
    return seen

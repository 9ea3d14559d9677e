"""What users of containerd's shim complain of, each with what brings it about, under a containerd that is killed at will."""
import os
import shutil
import signal
import subprocess
import threading
import time

import cri_engine
import ctr_engine
from cri_engine import POD, RUNNING
from harness import Skip, check, within

from . import OWN, flow, processes, servers

LINE = 'line of sixty-four bytes, all told, for the log of a container'


def on_demand(pod, *acts):
    """A container that does each of these when the file `N` is there, and says so with `N.done`."""
    script = ''.join(f'while [ ! -e /tmp/{number} ]; do sleep 0.05; done; {act}; touch /tmp/{number}.done; ' for number, act in enumerate(acts))
    container = pod.up('sh', '-c', f'echo ready; {script}sleep 1000')
    within(60, lambda: 'ready' in container.log()[0], 'it is up')
    container.root = f'/proc/{container.pid()}/root/tmp'
    return container


def ask(container, number):
    with open(f'{container.root}/{number}', 'w'):
        pass


def done(container, number, seconds=60):
    within(seconds, lambda: os.path.exists(f'{container.root}/{number}.done'), f'act {number} of the container is done')


@flow('containerd killed: tasks go on, one ends meanwhile, all is found again', must=True)
def _(it):
    cri = it.cri()
    pod = cri.pod(pid=POD)
    stays, ends = pod.up(), on_demand(pod, 'exit 7')
    shims = servers(pod.id)
    it.side.kill()
    ask(ends, 0)
    within(60, lambda: not os.path.exists(ends.root), 'it has ended')
    it.side.begin()
    check(servers(pod.id) == shims, 'the same shim')
    check(stays.state() == RUNNING and stays.ok('echo', 'alive') == 'alive', 'the other goes on')
    status = ends.ended()
    pod.remove()
    it.nothing_left()
    check(status in (7, 255), f'the status of the one that ended: {status}')  # 255: containerd 1.7 and later


@flow('what a container writes while containerd is away is not lost', fast=False, must=True)
def _(it):
    cri = it.cri()
    pod = cri.pod()
    box = on_demand(pod, f'i=0; while [ $i -lt 100 ]; do echo "$i {LINE}"; i=$((i+1)); done', 'echo after')
    it.side.kill()
    ask(box, 0)
    done(box, 0)
    it.side.begin()
    ask(box, 1)
    within(60, lambda: 'after' in box.log()[0], 'what comes after is in the log')
    lines = [line.split()[0] for line in box.log()[0].splitlines() if LINE in line]
    pod.remove()
    it.nothing_left()
    check(lines == [str(number) for number in range(100)], f'{len(lines)} of 100 lines')


@flow('a container that writes much while containerd is away is not blocked', fast=False, must=True)
def _(it):
    cri = it.cri()
    pod = cri.pod()
    box = on_demand(pod, f'yes "{LINE}" | head -c 2000000', 'echo after')
    it.side.kill()
    ask(box, 0)
    try:
        done(box, 0)
    finally:
        it.side.begin()
    ask(box, 1)
    within(60, lambda: 'after' in box.log()[0], 'what comes after is in the log')
    pod.remove()
    it.nothing_left()


@flow('probes whose time is up do not pile up', must=True)
def _(it):
    pod = it.cri().pod()
    box = pod.up()
    threads = [threading.Thread(target=lambda: attempt(lambda: box.exec('sleep', '4321', timeout=1))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    within(60, lambda: not any(words[-1] == '4321' for *_, words in processes()), 'none is left')
    shim = servers(pod.id)

    def zombies():
        return [number for number, parent, state, _ in processes() if state == 'Z' and parent in shim]
    within(60, lambda: not zombies(), f'zombies of the shim: {zombies()}')
    check(box.ok('echo', 'alive') == 'alive', 'the container')
    pod.remove()
    it.nothing_left()


def attempt(act):
    try:
        return act()
    except Exception as fault:  # whatever it is: another flow judges it
        return fault


@flow('thirty probes at once: each its own output and status', fast=False, must=True)
def _(it):
    pod = it.cri().pod()
    box = pod.up()
    results = {}

    def probe(number):
        results[number] = attempt(lambda: box.exec('sh', '-c', f'echo out-{number}; exit {number}', timeout=60))
    threads = [threading.Thread(target=probe, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = {number: got for number, got in results.items() if got != (number, f'out-{number}\n', '')}
    pod.remove()
    it.nothing_left()
    check(not wrong, f'{len(wrong)} of 30: {list(wrong.items())[:2]}')


@flow('pods that come and go while containerd is killed: none is left', fast=False, must=True)
def _(it):
    """Eight at once, containerd killed in the middle; kubelet then removes what it finds."""
    cri = it.cri()

    def churn():
        for _ in range(3):
            attempt(lambda: cri.pod().up('true'))
    threads = [threading.Thread(target=churn) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    it.side.kill()
    for thread in threads:
        thread.join()
    it.side.begin()
    it.side.clean(None)
    it.nothing_left()


@flow('a wedged shim does not keep containerd from starting', fast=False, must=True)
def _(it):
    ctr = it.ctr()
    names = [ctr.up(), ctr.up()]
    stopped = servers(names[0])
    it.side.kill()
    for number in stopped:
        os.kill(number, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        it.side.begin()
        within(30, lambda: it.side.ctr('version').status == 0, 'containerd answers')
        took = time.monotonic() - begin
        check(it.side.ctr('task', 'exec', '--exec-id', 'one', names[1], 'echo', 'alive').ok() == 'alive', 'the other container')
    finally:
        for number in stopped:
            os.kill(number, signal.SIGCONT)
    remove(it, *names)
    it.nothing_left()  # a shim that nobody calls any more stays for half a minute
    check(took < 40, f'{took:.0f} s')


def remove(it, *names):
    for name in names:
        it.side.ctr('task', 'kill', '-s', 'KILL', name)
        it.side.ctr('task', 'delete', '--force', name)
        it.side.ctr('container', 'delete', name)


@flow('events of a task, as containerd tells them', must=True)
def _(it):
    ctr, watch = it.ctr(), it.watch()
    name = ctr.up(command=('sh', '-c', 'until [ -e /end ]; do sleep 0.05; done; exit 7'))
    ctr.exec(name, 'touch', '/end').ok()
    within(60, lambda: watch.exits(name), 'its end')
    remove(it, name)
    within(60, lambda: any(topic == '/tasks/delete' for topic, _ in watch.told(name)), 'its delete')
    it.nothing_left()
    told = [(topic, sorted(fields)) for topic, fields in watch.told(name) if topic.startswith('/tasks/')]
    check(watch.exits(name) == [7], f'{watch.exits(name)}')
    return told


@flow('killed for want of memory: it is told once', must=True)
def _(it):
    ctr, watch = it.ctr(), it.watch()
    name = ctr.up('--memory-limit', str(16 << 20), command=('sh', '-c', 'sleep 0.3; tail /dev/zero'))
    within(60, lambda: watch.exits(name), 'its end')
    remove(it, name)
    # Nothing comes after it.
    within(60, lambda: any(topic == '/tasks/delete' for topic, _ in watch.told(name)), 'its delete')
    topics = [topic for topic, _ in watch.told(name)]
    it.nothing_left()
    if watch.exits(name) == [0]:
        raise Skip('no memory or cpu controller on this machine')
    check(topics.count('/tasks/oom') >= 1, f'{topics}')
    return watch.exits(name)


@flow('the client of an attached container dies: the container writes on', must=True)
def _(it):
    ctr = it.ctr()
    name, words = ctr.words()
    mark = f'{it.side.shared}/mark'
    client = subprocess.Popen([it.side.binary, '-a', it.side.socket, '-n', 'test', words[0], '--mount',
                               f'type=bind,src={it.side.shared},dst=/shared,options=rbind:rw', *words[1:], 'sh', '-c',
                               'echo up; while [ ! -e /shared/go ]; do sleep 0.05; done; yes 0123456 | head -c 1000000; touch /shared/mark; sleep 1000'],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    check(client.stdout.readline() == b'up\n', 'it is up')
    client.kill()
    client.wait()
    with open(it.side.shared + '/go', 'w'):
        pass
    try:
        within(60, lambda: os.path.exists(mark), 'what is behind the writes')
    finally:
        for file in os.listdir(it.side.shared):
            os.unlink(f'{it.side.shared}/{file}')
        remove(it, name)
        shutil.rmtree('/run/containerd/fifo', ignore_errors=True)  # the dead client's own
    it.nothing_left()


@flow('a shim by its path, and in the place of containerd\'s own', must=True)
def _(it):
    it.ctr()
    seen = []
    for number, words in enumerate((('--runtime', it.side.path()), in_place(it))):
        name = f'{it.runtime}-way-{number}'
        for _ in range(3):
            done = it.side.ctr('run', '--rm', *words, '--cgroup', f'/{it.side.group}/{name}', ctr_engine.BOX, name, 'sh', '-c', 'echo ok; exit 3')
            if done.out:  # ctr loses it now and then: ctr_engine.Client.box
                break
        seen.append((done.status, done.out))
    it.nothing_left()
    check(seen == [(3, 'ok\n')] * 2, f'{seen}')


def in_place(it):
    """A copy under the name of containerd's own, by its path: what a PATH would find."""
    if it.runtime != 'shim':
        return ()
    directory = it.side.work + '/in-place'
    os.makedirs(directory)
    for name in ('tare', 'runc'):
        shutil.copy(f'{os.path.dirname(it.side.path())}/tare', f'{directory}/{name}')
    shutil.copy(it.side.path(), f'{directory}/{OWN}')
    return ('--runtime', f'{directory}/{OWN}')


@flow('a pod that the shim makes itself (sandboxer = "shim")', fast=False, must=True, since=(2, 1))
def _(it):
    it.cri()
    cri = cri_engine.Client(it.side, 'sandboxed')
    pod = cri.pod(network=POD, hostname='made-by-the-shim')
    one, other = pod.up(), pod.up()
    check(pod.status()['state'] == cri_engine.READY, 'it is ready')
    check(len(servers()) == 1, f'one shim: {servers()}')
    check(one.ok('hostname') == other.ok('hostname') == 'made-by-the-shim', 'its name')
    for kind in ('ipc', 'uts', 'net'):
        check(one.ok('readlink', f'/proc/self/ns/{kind}') == other.ok('readlink', f'/proc/self/ns/{kind}') != os.readlink(f'/proc/self/ns/{kind}'), kind)
    it.side.kill()
    it.side.begin()
    check(one.state() == RUNNING and one.ok('echo', 'alive') == 'alive', 'over a restart of containerd')
    pod.remove()
    it.nothing_left()
    lost = cri.pod(network=POD)
    holders = [number for number, _, _, words in processes() if words == ['/pause', 'pause']]
    check(len(holders) == 1, f'{holders}')
    os.kill(holders[0], signal.SIGKILL)
    within(60, lambda: lost.status()['state'] == cri_engine.NOT_READY, 'its end is seen')
    lost.remove()
    it.nothing_left()
    killed = cri.pod(network=POD)
    os.kill(servers(killed.id)[0], signal.SIGKILL)
    # As kubelet does: again, until it has worked.
    within(60, lambda: attempt(killed.remove) is None, 'the pod of a killed shim is removed')
    it.nothing_left()


@flow('a newer containerd takes over from an older one under running shims', fast=False, must=True)
def _(it):
    older = it.engine.options.older
    if not older:
        raise Skip('needs --older, an earlier containerd')
    ctr = it.ctr()
    it.side.kill()
    it.side.older = older
    it.side.begin()
    name, other = ctr.up(), ctr.up(command=('sh', '-c', 'sleep 3; exit 6'))
    shims = servers(name)
    it.side.kill()
    it.side.older = None
    it.side.begin()
    check(servers(name) == shims, 'the same shim')
    # ctr loses the words of a process that ends at once, now and then: see Client.box.
    within(10, lambda: ctr.exec(name, 'echo', 'alive').ok() == 'alive', 'exec')
    within(60, lambda: ctr.task(other)[1] == 'STOPPED', 'the end of the other is seen')
    status = it.side.ctr('task', 'delete', other).err
    remove(it, name, other)
    it.nothing_left()
    check('exit code 6' in status, f'its status: {status}')

"""SIGKILL of the shim, of containerd and of dockerd at many moments of a container's life. Afterwards the client removes what
it still finds, as kubelet or a person would, and nothing may be left; no end is told twice, or never."""
import os
import random
import shutil
import threading
import time

import docker_flows
from harness import DEBIAN_PATH, call, cgroups, check, within

from . import flow, left_processes, processes, shim_processes, stop


def life(it, ctr, name):
    """A container runs, is looked into, is killed and removed; any step may fail."""
    _, words = ctr.words('-d', '--null-io')
    words = [name if word == ctr.names[-1] else word for word in words]
    words[words.index('--cgroup') + 1] = f'/{it.side.group}/{name}'
    it.side.ctr(*words, 'sleep', '1000')
    it.side.ctr('task', 'exec', '--exec-id', 'one', name, 'true')
    it.side.ctr('task', 'kill', '-s', 'KILL', name)
    it.side.ctr('task', 'delete', '--force', name)
    it.side.ctr('container', 'delete', name)


def length_of(it, ctr, word):
    """Seconds that a life takes."""
    names = [f'{it.runtime}-{word}-{each}' for each in range(2)]
    length = min(timed(lambda: life(it, ctr, name)) for name in names)  # noqa: B023
    for name in names:
        remove(it, name)
    it.nothing_left()
    return length


def moments(it, seconds):
    """Spread over the time, each at some point of its part."""
    count, rest = it.engine.moments(), random.Random(it.engine.options.seed)
    return [seconds * (number + rest.random()) / count for number in range(count)]


def struck(moment, act, strike):
    """Does something, and strikes at that moment of it."""
    thread = threading.Thread(target=act)
    thread.start()
    time.sleep(moment)
    victim = strike()
    thread.join()
    return victim


def timed(act):
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def remove(it, name):
    for words in (('task', 'kill', '-s', 'KILL', name), ('task', 'delete', '--force', name), ('container', 'delete', name)):
        it.side.ctr(*words)


def report(it, faults, struck_count):
    shown = '; '.join(faults[:3])
    check(not faults, f'{len(faults)} faults at {it.engine.moments()} moments ({struck_count} met something): {shown}')


@flow('the shim is killed at any moment', must=True)
def _(it):
    ctr, watch = it.ctr(), it.watch()
    length = length_of(it, ctr, 'try')
    faults, met, rest = [], 0, random.Random(it.engine.options.seed)

    def strike():
        found = shim_processes()
        if not found:
            return None
        number, words = rest.choice(found)
        stop(number)
        return 'start' if 'start' in words else 'delete' if 'delete' in words else 'server'
    for count, moment in enumerate(moments(it, length)):
        name = f'{it.runtime}-struck-{count}'
        victim = struck(moment, lambda: life(it, ctr, name), strike)  # noqa: B023
        met += victim is not None
        remove(it, name)
        note = f'{moment * 1000:.0f} ms, {victim}'
        faults += [f'{note}: {fault}' for fault in faults_of(it, watch, name, victim)]
    report(it, faults, met)


def faults_of(it, watch, name, victim):
    found = leftovers(it)
    settled(it, watch)
    topics = [topic for topic, _ in watch.told(name)]
    ends = len(watch.exits(name))
    # containerd itself tells the end once more when a shim is lost that had told it.
    if ends > (2 if victim == 'server' else 1):
        found.append(f'its end is told {ends} times')
    if '/tasks/start' in topics and not ends:
        found.append('its end is never told')
    return found


def settled(it, watch):
    """Every event that was told so far has come: one of our own, which is told now, has."""
    marks = []

    def came():
        marks.append(f'mark-{time.monotonic_ns()}')
        it.side.ctr('namespaces', 'label', 'test', f'at={marks[-1]}')
        return any(mark in line for line in watch.lines[-1000:] for mark in marks)
    within(60, came, 'events come')


def leftovers(it, seconds=60):
    """A shim that containerd has never given a task stays for half a minute."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = it.left()
        if not left:
            return []
        time.sleep(0.1)
    it.sweep()
    return left


@flow('containerd is killed at any moment', must=True)
def _(it):
    ctr, watch = it.ctr(), it.watch()
    length = length_of(it, ctr, 'trial')
    faults = []
    for count, moment in enumerate(moments(it, length)):
        name = f'{it.runtime}-orphan-{count}'
        struck(moment, lambda: life(it, ctr, name), it.side.kill)  # noqa: B023
        it.side.begin()
        found = []
        row = ctr.task(name)
        if row and row[1] == 'RUNNING' and not os.path.exists(f'/proc/{row[0]}'):
            end = time.monotonic() + 30
            while row and row[1] == 'RUNNING' and time.monotonic() < end:
                time.sleep(0.1)
                row = ctr.task(name)
            if row and row[1] == 'RUNNING':
                found.append('its end is never told')
        remove(it, name)
        found += leftovers(it)
        settled(it, watch)
        if watch.ends(name) > 1:
            found.append(f'its end is told {watch.ends(name)} times: {watch.told(name)}')
        faults += [f'{moment * 1000:.0f} ms: {fault}' for fault in found]
    report(it, faults, it.engine.moments())


class OneDocker(docker_flows.Docker):
    """A dockerd for one shim."""

    def __init__(self, judge, name):
        super().__init__(f'{judge.work}/docker-{name}', {'shim': judge.options.tare, 'go': judge.options.tare})
        self.options = judge.options
        os.mkdir(self.work)
        self.side = name

    def prepared(self):
        self.runtimes = {self.side: self.runtimes[self.side], 'go': self.runtimes['go']}
        self.start()
        self.group = os.path.basename(self.work)
        return docker_flows.Client(self, self.side)


@flow('dockerd is killed at any moment', fast=False, must=True)
def _(it):
    engine = OneDocker(it.engine, it.runtime)
    try:
        client = engine.prepared()
        daemon = engine.main(it.runtime)
        it.before |= {number for number, *_ in processes()}
        length = min(timed(lambda: docker_life(client, f'try-{each}')) for each in range(2))
        faults, known = [], set()
        for count, moment in enumerate(moments(it, length)):
            struck(moment, lambda: docker_life(client, f'struck-{count}'), daemon.kill)  # noqa: B023
            daemon.begin()
            found = []
            for row in client.docker('ps', '--format', '{{.ID}}').out.split():
                number = client.docker('inspect', '-f', '{{.State.Pid}}', row).out.strip()
                if number not in ('', '0') and not os.path.exists(f'/proc/{number}'):
                    found.append(f'{row} is told to run')
            made = client.docker('ps', '-aq').out.split()
            if made:
                client.docker('rm', '-f', *made)
            remove_forgotten(daemon)
            found += docker_leftovers(it, engine)
            faults += [f'{moment * 1000:.0f} ms: {fault}' for fault in found if fault not in known]
            known |= set(found)
        report(it, faults, it.engine.moments())
    finally:
        engine.stop()


def docker_life(client, name):
    client.docker(*client.words('-d', '--name', name), docker_flows.BOX, 'sleep', '1000')
    client.docker('exec', name, 'true')
    client.docker('kill', name)
    client.docker('rm', '-f', name)


def remove_forgotten(daemon):
    """dockerd 20.10 forgets a container that containerd had made when it was killed: its task lives on. A person removes it."""
    ctr = (shutil.which('ctr', path=DEBIAN_PATH), '-a', f'{daemon.home}/exec/containerd/containerd.sock', '-n', 'moby')
    known = call(*daemon.base, 'ps', '-aq', '--no-trunc').out.split()
    for name in call(*ctr, 'container', 'ls', '-q').out.split():
        if name not in known:
            for words in (('task', 'kill', '-s', 'KILL', name), ('task', 'delete', '--force', name), ('container', 'delete', name)):
                call(*ctr, *words)


def docker_leftovers(it, engine, seconds=60):
    def left():
        found = [fault for fault in left_processes(it)]
        found += [f'cgroup {path}/{name}' for top in cgroups(engine.group) for path, names, _ in os.walk(top) for name in names]
        for top in ('/run/containerd', '/run/docker', f'{engine.main(it.runtime).home}/exec/containerd/daemon/io.containerd.runtime.v2.task'):
            for path, names, files in os.walk(top):
                found += [f'file {path}/{name}' for name in files if '/s' in path or 'moby' in path]
                found += [f'directory {path}/{name}' for name in names if path.endswith('moby')]
        return found
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = left()
        if not found:
            return []
        time.sleep(0.1)
    for number, _ in shim_processes():
        stop(number)
    within(60, lambda: not shim_processes(), 'killed')
    return found

"""Many containers: one after the other, at once; many execs in one."""
import os
import threading

from harness import check

from . import flow, servers
from .kills import settled


@flow('containers one after the other: each its status, nothing left', must=True)
def _(it):
    ctr = it.ctr()
    count = it.engine.options.containers or it.engine.times()
    wrong = []
    for number in range(count):
        done = ctr.run('sh', '-c', f'exit {number % 100}')
        if done.status != number % 100:
            wrong.append((number, done.status, done.err[-200:]))
        del ctr.names[:]
    it.nothing_left()
    check(not wrong, f'{len(wrong)} of {count}: {wrong[:2]}')


@flow('containers at once under one containerd: each its status and one end', must=True)
def _(it):
    ctr, watch = it.ctr(), it.watch()
    count, wrong, threads, statuses = it.engine.times() * (1 if it.engine.options.all else 4), [], [], {}

    def one(number):
        name, words = ctr.words('--rm')
        done = it.side.ctr(*words, 'sh', '-c', f'sleep 1; exit {number % 100}', timeout=600)
        if done.status != number % 100:
            wrong.append((name, done.status, done.err[-200:]))
        statuses[name] = number % 100
    for number in range(count):
        threads.append(threading.Thread(target=one, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    it.nothing_left(120)
    settled(it, watch)
    wrong += [(name, watch.exits(name)) for name, status in statuses.items() if watch.exits(name) != [status]]
    check(not wrong, f'{len(wrong)} of {count}: {wrong[:2]}')


@flow('a thousand execs: the shim is as small as before', fast=False, must=True)
def _(it):
    box = it.bare().up()
    for number in range(100):
        check(box.finish(f'a{number}', 'true') == 0, f'exec {number}')
    before, threads = box.memory(), box.threads()
    for number in range(1000):
        check(box.finish(f'b{number}', 'true') == 0, f'exec {number}')
    after = box.memory()
    descriptors = len(os.listdir(f'/proc/{servers(box.id)[0]}/fd'))
    now = box.threads()
    box.end()
    check(after <= before + 128, f'{before} KiB before, {after} KiB after')
    check(now <= threads and descriptors < 60, f'{threads} threads before, {now} after; {descriptors} descriptors')

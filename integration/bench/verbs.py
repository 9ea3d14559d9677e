"""One container: `run` of several kinds, and the commands as engines call them, each timed.

    {'timed': [{'workload', 'gap', 'samples': {contender: [[wall ms, CPU ms], ...]}, 'rss': {contender: KiB}}],
     'counted': {contender: {what: number}}}
"""
import os
import signal
import statistics
import subprocess
import time

import bundle
from contenders import Broken, Floor, in_turns, weight

RUN = 'run'
# As older engines write it; the cgroup mount then costs the kernel a wait.
SHARED = 'run, no cgroup namespace'
KINDS = {
    RUN: {},
    SHARED: {'cgroup_namespace': False},
    "run, Docker's configuration": {'kind': bundle.docker},
    'run, 200 mounts': {'kind': bundle.many_mounts},
    'run, user namespace': {'kind': bundle.user_namespace},
}
WITH_FLOOR = (RUN, SHARED)  # the others are not what the floor makes
VERSION = '--version'


def measure(bench, runtimes, options):
    kinds = {kind: how for kind, how in KINDS.items() if bench.cgroup_namespace or kind != SHARED}
    bundles = {kind: {each.name: each.bundle(f'run{number}', '/bin/true', **how) for each in runtimes}
               for number, (kind, how) in enumerate(kinds.items())}
    waiting = Waiting(bench, runtimes)
    timed = []
    for gap in [options.gap] if options.quick else [options.gap, 0]:
        for kind, those in bundles.items():
            floor = [Floor(bench)] if kind in WITH_FLOOR else []
            count = options.rounds if kind == RUN else several(options)
            timed.append(rounds(bench, [*runtimes, *floor], kind, gap, count,
                                lambda each, those=those: each.run(those.get(each.name))))
        timed += waiting.cycles(gap, several(options))
        timed.append(rounds(bench, runtimes, VERSION, gap, several(options), lambda each: [each.path, '--version']))
    counted = {each.name: counts(bench, each, waiting, bundles[RUN][each.name]) for each in runtimes}
    counted['floor'] = {'calls of run': bench.calls(Floor(bench).run(None))}
    return {'timed': timed, 'counted': counted}


def several(options):
    return max(options.rounds // 2, 5)


def rounds(bench, contenders, workload, gap, count, command):
    """One command, in turns; once before that does not count. Who cannot is left out."""
    row = {'workload': workload, 'gap': gap, 'samples': {}, 'rss': {}, 'broken': {}}
    for each in contenders:
        try:
            bench.timed(command(each))
            row['samples'][each.name] = []
        except Broken as reason:
            row['broken'][each.name] = str(reason)
    for each in in_turns(count, [each for each in contenders if each.name in row['samples']]):
        wall, cpu, peak = bench.timed(command(each), gap)
        row['samples'][each.name].append([wall, cpu])
        row['rss'][each.name] = max(row['rss'].get(each.name, 0), peak)
    return row


class Waiting:
    """A container as engines drive it: create, start, exec, state, delete, each on its own."""

    def __init__(self, bench, runtimes):
        self.bench, self.runtimes = bench, runtimes
        self.bundles = {each.name: each.bundle('sleep', '/bin/sleep', '1000') for each in runtimes}
        self.weights = {each.name: [] for each in runtimes}

    def cycles(self, gap, count):
        verbs = {}
        for each in in_turns(count, self.runtimes):
            for verb, (wall, cpu, peak) in self.cycle(each, gap).items():
                row = verbs.setdefault(verb, {'workload': verb, 'gap': gap, 'samples': {}, 'rss': {}, 'broken': {}})
                row['samples'].setdefault(each.name, []).append([wall, cpu])
                row['rss'][each.name] = max(row['rss'].get(each.name, 0), peak)
        return list(verbs.values())

    def cycle(self, each, gap):
        """{verb: (wall, CPU, RSS)}"""
        name, pid_file, timed = self.bench.fresh(), f'{self.bench.mine}/pid', self.bench.timed
        seen = {}
        try:
            seen['create'] = timed(each.create(self.bundles[each.name], name, pid_file), gap)
            with open(pid_file) as file:
                process = int(file.read())
            time.sleep(0.02)  # it has told of itself just before it waits
            self.weights[each.name].append(weight(process))
            for verb, words in (('start', ['start', name]), ('exec', ['exec', name, '/bin/true']), ('state', ['state', name])):
                seen[verb] = timed([*each.base, *words], gap)
            os.kill(process, signal.SIGKILL)
            gone(process)
            seen['delete'] = timed([*each.base, 'delete', name], gap)
        except Broken:
            each.delete_by_force(name)
            raise
        return seen


def gone(process):
    """Waits until a process has ended (a zombie has)."""
    for _ in range(2000):
        try:
            with open(f'/proc/{process}/stat') as file:
                if file.read().rsplit(')', 1)[1].split()[0] in 'ZX':
                    return
        except OSError:
            return
        time.sleep(0.001)


def counts(bench, runtime, waiting, directory):
    rss, pss, dirty = (statistics.median(column) for column in zip(*waiting.weights[runtime.name]))
    return {
        'binary KiB': os.path.getsize(runtime.path) // 1024,
        'waiting init RSS KiB': rss,
        'waiting init PSS KiB': pss,
        'waiting init private dirty KiB': dirty,
        'calls of run': bench.calls(runtime.run(directory)),
    }


def usable(bench, runtimes):
    """Those that can make a container here, and why the others cannot."""
    can, broken = [], {}
    for each in runtimes:
        try:
            bench.timed(each.run(each.bundle('try', '/bin/true')))
            Waiting(bench, [each]).cycle(each, 0)
            can.append(each)
        except (Broken, subprocess.CalledProcessError) as reason:
            broken[each.name] = str(reason)
    return can, broken

"""The workloads, and one environment's measurements as plain data.

    {'name': ..., 'broken': {contender: reason},
     'timed': [{'workload', 'gap', 'samples': {contender: [[wall ms, CPU ms], ...]}}],
     'counted': {contender: {what: number}}}
"""
import os
import re
import signal
import statistics
import subprocess
import sys
import time

import bundle


RUN = 'run'
SHARED = 'run, no cgroup namespace'  # as older engines write it; the cgroup mount then costs the kernel a wait


class Broken(Exception):
    """A contender that cannot do a workload here."""


class Bench:
    """What the workloads share: paths, bundles, and a stopwatch."""

    def __init__(self, options, name):
        self.work, self.name = options.work, name
        self.mine = f'{options.work}/{name}'  # a tmpfs: state is kept on one by every engine
        self.group = os.path.basename(options.work)
        self.rootfs = bundle.rootfs(f'{self.mine}/rootfs')
        self.ids = 0
        self.init = {}

    def bundle(self, directory, contender, *command, cgroup_namespace):
        config = bundle.config(self.rootfs, list(command), f'/{self.group}/{contender}', cgroup_namespace)
        return bundle.write(f'{self.mine}/{directory}-{contender}', config)

    def fresh(self):
        self.ids += 1
        return f'c{self.ids}'

    def timed(self, argv, gap=0):
        """Runs a command: (wall ms, CPU ms, maximum RSS KiB)."""
        time.sleep(gap / 1000)
        result = f'{self.mine}/stopwatch'
        with open(f'{self.mine}/stderr', 'w') as errors:  # a file: a container that stays would hold a pipe open
            subprocess.run([f'{self.work}/stopwatch', result, *argv], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=errors, check=True)
        with open(result) as file:
            status, wall, cpu, rss, _ = map(int, file.read().split())
        if status != 0:
            with open(f'{self.mine}/stderr') as file:
                raise Broken(f'{" ".join(argv[1:4])}: status {status}: {file.read().strip()[-200:]}')
        return wall / 1e6, cpu / 1e3, rss


class Runtime:
    """A runtime's commands."""

    def __init__(self, bench, name, path):
        self.bench, self.name, self.path = bench, name, path
        self.base = [path, '--root', f'{bench.mine}/state-{name}']
        # What `spec` writes: a cgroup namespace on cgroup2, none on v1.
        own = bench.name == 'cgroup2'
        self.sleep = bench.bundle('sleep', name, '/bin/sleep', '1000', cgroup_namespace=own)
        self.true = {RUN: bench.bundle('true', name, '/bin/true', cgroup_namespace=own)}
        if own:
            self.true[SHARED] = bench.bundle('shared', name, '/bin/true', cgroup_namespace=False)

    def run(self, kind):
        return [*self.base, 'run', '--bundle', self.true[kind], self.bench.fresh()]

    def cycle(self, gap):
        """One container as engines drive it, each command timed: {verb: (wall, CPU, RSS)}."""
        bench, name, pid_file = self.bench, self.bench.fresh(), f'{self.bench.mine}/pid'
        seen = {}
        try:
            seen['create'] = bench.timed([*self.base, 'create', '--bundle', self.sleep, '--pid-file', pid_file, name], gap)
            with open(pid_file) as file:
                process = int(file.read())
            bench.init.setdefault(self.name, []).append(weight(process))
            for verb, words in (('start', ['start', name]), ('exec', ['exec', name, '/bin/true']),
                                ('state', ['state', name])):
                seen[verb] = bench.timed([*self.base, *words], gap)
            os.kill(process, signal.SIGKILL)
            gone(process)
            seen['delete'] = bench.timed([*self.base, 'delete', name], gap)
        except Broken:
            subprocess.run([*self.base, 'delete', '--force', name], capture_output=True, check=False)
            raise
        return seen


class Floor:
    def __init__(self, bench):
        self.bench, self.name = bench, 'floor'
        self.group = f'/sys/fs/cgroup/{bench.group}' if bench.name == 'cgroup2' else '-'
        if self.group != '-':
            os.makedirs(self.group, exist_ok=True)

    def run(self, _kind):
        return [f'{self.bench.work}/floor', self.bench.rootfs, self.group, '/bin/true']


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


def weight(process):
    """Memory of a process: RSS, PSS and private dirty pages, in KiB."""
    with open(f'/proc/{process}/smaps_rollup') as file:
        rows = dict(re.findall(r'^(\w+):\s+(\d+) kB', file.read(), re.M))
    return [int(rows[key]) for key in ('Rss', 'Pss', 'Private_Dirty')]


def everything(options, paths):
    bench = Bench(options, options.inside)
    runtimes = [Runtime(bench, name, path) for name, path in paths]
    result = {'name': bench.name, 'broken': {}, 'timed': [], 'counted': {}}
    for runtime in list(runtimes):  # warm, and who cannot take part is told and left out
        try:
            bench.timed(runtime.run(RUN))
            runtime.cycle(0)
        except Broken as reason:
            result['broken'][runtime.name] = str(reason)
            runtimes.remove(runtime)
    bench.init.clear()
    for gap in [options.gap] if options.quick else [options.gap, 0]:
        for kind in [RUN, SHARED] if bench.name == 'cgroup2' else [RUN]:
            result['timed'].append(rounds(bench, [*runtimes, Floor(bench)], kind, gap, options.rounds))
        result['timed'] += cycles(runtimes, gap, max(options.rounds // 2, 5))
    for runtime in runtimes:
        result['counted'][runtime.name] = counts(bench, runtime)
    result['counted']['floor'] = {'calls of run': calls(bench, Floor(bench).run(RUN))}
    return result


def rounds(bench, contenders, kind, gap, count):
    """`run /bin/true`, in turns."""
    samples = {each.name: [] for each in contenders}
    rss = {each.name: 0 for each in contenders}
    for number in range(count):
        turn = number % len(contenders)
        for each in contenders[turn:] + contenders[:turn]:
            wall, cpu, peak = bench.timed(each.run(kind), gap)
            samples[each.name].append([wall, cpu])
            rss[each.name] = max(rss[each.name], peak)
    return {'workload': kind, 'gap': gap, 'samples': samples, 'rss': rss}


def cycles(runtimes, gap, count):
    """create, start, exec, state, delete, in turns."""
    verbs = {}
    for number in range(count):
        turn = number % len(runtimes)
        for each in runtimes[turn:] + runtimes[:turn]:
            for verb, (wall, cpu, peak) in each.cycle(gap).items():
                row = verbs.setdefault(verb, {'workload': verb, 'gap': gap, 'samples': {}, 'rss': {}})
                row['samples'].setdefault(each.name, []).append([wall, cpu])
                row['rss'][each.name] = max(row['rss'].get(each.name, 0), peak)
    return list(verbs.values())


def counts(bench, runtime):
    rss, pss, dirty = (statistics.median(column) for column in zip(*bench.init[runtime.name]))
    return {
        'binary KiB': os.path.getsize(runtime.path) // 1024,
        'waiting init RSS KiB': rss,
        'waiting init PSS KiB': pss,
        'waiting init private dirty KiB': dirty,
        'calls of run': calls(bench, runtime.run(RUN)),
    }


def calls(bench, argv):
    """System calls of a command and all that it starts."""
    out = f'{bench.mine}/strace'
    done = subprocess.run(['strace', '-f', '-qq', '-c', '-U', 'calls,name', '-o', out, *argv], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f'strace {argv[0]}: {done.stderr.strip()[-300:]}', file=sys.stderr)
        return None
    with open(out) as file:
        return sum(int(line.split()[0]) for line in file
                   if re.match(r'\s*\d+ \w+$', line) and not line.rstrip().endswith(' total'))

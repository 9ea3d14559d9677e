"""Who is measured, and by what: the stopwatch, the runtimes with their commands, and the floor."""
import json
import os
import re
import shutil
import subprocess
import time

import bundle


class Broken(Exception):
    """A contender that cannot do a workload here."""


class Bench:
    """What the workloads share: paths, bundles, and a stopwatch."""

    def __init__(self, options, name):
        self.work, self.name = options.work, name
        self.mine = f'{options.work}/{name}'  # a tmpfs: state is kept on one by every engine
        self.group = os.path.basename(options.work)
        self.rootfs = bundle.rootfs(f'{self.mine}/rootfs')
        shutil.copy(f'{self.work}/calls', f'{self.rootfs}/bin')
        self.mapped = bundle.rootfs(f'{self.mine}/mapped', bundle.FIRST_ID)
        # What `spec` writes: a cgroup namespace on cgroup2, none on v1.
        self.cgroup_namespace = name == 'cgroup2'
        self.ids = 0

    def bundle(self, directory, cgroup, *command, kind=bundle.plain, cgroup_namespace=None):
        own = self.cgroup_namespace if cgroup_namespace is None else cgroup_namespace
        rootfs = self.mapped if kind is bundle.user_namespace else self.rootfs
        return bundle.write(f'{self.mine}/{directory}', kind(rootfs, list(command), f'/{self.group}/{cgroup}', own))

    def fresh(self):
        self.ids += 1
        return f'c{self.ids}'

    def timed(self, argv, gap=0):
        """Runs a command: (wall ms, CPU ms, maximum RSS KiB)."""
        time.sleep(gap / 1000)
        status, wall, cpu, rss, _ = self._told([f'{self.work}/stopwatch', f'{self.mine}/told', *argv])
        if status != 0:
            raise Broken(f'{" ".join(argv[1:4])}: status {status}: {self._said()}')
        return wall / 1e6, cpu / 1e3, rss

    def crowded(self, workers, count, argv):
        """Runs a command for each number, some at once: (wall ms, CPU ms) of all together."""
        failed, wall, cpu = self._told([f'{self.work}/crowd', f'{self.mine}/told', str(workers), str(count), *argv])
        if failed:
            raise Broken(f'{" ".join(argv[1:4])}: {self._said()}')
        return wall / 1e6, cpu / 1e3

    def _told(self, argv):
        with open(f'{self.mine}/stderr', 'w') as errors:  # a file: a container that stays would hold a pipe open
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, check=True)
        with open(f'{self.mine}/told') as file:
            return [int(word) for word in file.read().split()]

    def _said(self):
        with open(f'{self.mine}/stderr') as file:
            return file.read().strip()[-200:]

    def calls(self, argv):
        """System calls of a command and all that it starts."""
        out = f'{self.mine}/strace'
        done = subprocess.run(['strace', '-f', '-qq', '-c', '-U', 'calls,name', '-o', out, *argv],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Broken(f'strace {" ".join(argv[:4])}: {done.stderr.strip()[-200:]}')
        with open(out) as file:
            return sum(int(line.split()[0]) for line in file
                       if re.match(r'\s*\d+ \w+$', line) and not line.rstrip().endswith(' total'))


class Runtime:
    """A runtime's commands."""

    def __init__(self, bench, name, path):
        self.bench, self.name, self.path = bench, name, path
        self.root = f'{bench.mine}/state-{name}'
        self.base = [path, '--root', self.root]

    def bundle(self, directory, *command, **how):
        return self.bench.bundle(f'{directory}-{self.name}', self.name, *command, **how)

    def run(self, directory):
        return [*self.base, 'run', '--bundle', directory, self.bench.fresh()]

    def create(self, directory, name, pid_file):
        return [*self.base, 'create', '--bundle', directory, '--pid-file', pid_file, name]

    def state(self, name):
        """What `state` says of a container."""
        return json.loads(subprocess.run([*self.base, 'state', name], capture_output=True, check=True).stdout)

    def delete_by_force(self, name):
        subprocess.run([*self.base, 'delete', '--force', name], capture_output=True, check=False)


class Floor:
    name = 'floor'

    def __init__(self, bench):
        self.bench = bench
        self.group = f'/sys/fs/cgroup/{bench.group}' if bench.name == 'cgroup2' else '-'
        if self.group != '-':
            os.makedirs(self.group, exist_ok=True)

    def run(self, _directory):
        return [f'{self.bench.work}/floor', self.bench.rootfs, self.group, '/bin/true']


def in_turns(count, contenders):
    """Everyone in each round, in another order each time."""
    for number in range(count):
        turn = number % len(contenders)
        yield from contenders[turn:] + contenders[:turn]


def weight(process):
    """Memory of a process: RSS, PSS and private dirty pages, in KiB."""
    with open(f'/proc/{process}/smaps_rollup') as file:
        rows = dict(re.findall(r'^(\w+):\s+(\d+) kB', file.read(), re.M))
    return [int(rows[key]) for key in ('Rss', 'Pss', 'Private_Dirty')]

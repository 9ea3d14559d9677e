"""Limits."""
import re

from harness import check

from . import flow


@flow('memory limit')
def _(it):
    name = it.up('-m', '64m', '--memory-swap', '64m', '--memory-reservation', '32m')
    check(it.limit(name, 'memory/memory.limit_in_bytes', 'memory.max') == str(64 << 20), 'memory')
    check(it.limit(name, 'memory/memory.soft_limit_in_bytes', 'memory.low') == str(32 << 20), 'reservation')


@flow('cpu limits')
def _(it):
    name = it.up('--cpus', '0.5', '--cpu-shares', '512', '--cpuset-cpus', '0')
    quota = it.limit(name, 'cpu/cpu.cfs_quota_us', 'cpu.max')
    check(quota.split()[0] == '50000', f'quota {quota}')
    check(it.limit(name, 'cpuset/cpuset.cpus', 'cpuset.cpus') == '0', 'cpuset')
    return it.limit(name, 'cpu/cpu.shares', 'cpu.weight')


@flow('pids limit')
def _(it):
    name = it.up('--pids-limit', '20')
    check(it.limit(name, 'pids/pids.max', 'pids.max') == '20', 'the file')
    forks = it.docker('exec', name, 'sh', '-c', 'for i in $(seq 40); do sleep 5 & done; wait')
    check('fork' in forks.err, f'the twenty-first is refused: {forks.err!r}')


@flow('out of memory is told')
def _(it):
    # The shim tells dockerd of the kill and of the end by two ways: where the end is first, the kill is forgotten.
    for _ in range(5):
        name = it.up('-m', '16m', '--memory-swap', '16m', command=('probe', 'memory', '64'))
        check(it.stopped(name) == 137, 'killed')
        if it.inspect(name, '.State.OOMKilled') == 'true':
            return True
    return False


@flow('update of limits')
def _(it):
    name = it.up('-m', '64m', '--memory-swap', '64m')
    it.docker('update', '-m', '48m', '--memory-swap', '48m', '--cpus', '0.25', '--pids-limit', '33', name).ok()
    check(it.limit(name, 'memory/memory.limit_in_bytes', 'memory.max') == str(48 << 20), 'memory')
    check(it.limit(name, 'cpu/cpu.cfs_quota_us', 'cpu.max').split()[0] == '25000', 'cpu')
    check(it.limit(name, 'pids/pids.max', 'pids.max') == '33', 'pids')


@flow('cgroup seen from inside')
def _(it):
    return re.sub('[0-9a-f]{64}', 'ID', it.box('cat', '/proc/self/cgroup'))

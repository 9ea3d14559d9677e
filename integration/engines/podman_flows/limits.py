"""Limits."""
from harness import check

from . import flow


@flow('memory, cpu and pids limits')
def _(it):
    name = it.up('-m', '64m', '--cpus', '0.5', '--pids-limit', '30')
    check(it.limit(name, 'memory.limit_in_bytes', 'memory.max') == str(64 << 20), 'memory')
    check(it.limit(name, 'cpu.cfs_quota_us', 'cpu.max').split()[0] == '50000', 'cpu')
    check(it.limit(name, 'pids.max', 'pids.max') == '30', 'pids')


@flow('update')
def _(it):
    name = it.up('-m', '64m')
    result = it.podman('update', '--cpus', '0.25', name)
    check(result.status == 0, f'{result.err}')
    return it.limit(name, 'cpu.cfs_quota_us', 'cpu.max').split()[0]


@flow('--ulimit')
def _(it):
    return it.box('sh', '-c', 'ulimit -n; ulimit -Hn; ulimit -u', options=('--ulimit', 'nofile=100:200', '--ulimit', 'nproc=500:500'))

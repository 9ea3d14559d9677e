"""How long a person at an engine waits, with each runtime: `integration/bench/engines --guest` asks for it."""
import json
import random
import sys
import time

from harness import call

from . import BOX, SLOW, docker, podman, sh

IMAGE = 'docker.io/library/busybox:latest'


def measure(tare, rounds):
    """{workload: {'broken': {}, 'samples': {runtime: [seconds]}}}: in each round everyone has a turn, in another order
    each time; one turn before that does not count."""
    paths = {'tare': tare, 'crun': '/usr/bin/crun', 'runc': '/usr/sbin/runc'}
    podman.settings(paths)
    docker.settings(paths)
    call('ctr', 'images', 'import', '/opt/busybox.tar', timeout=SLOW).ok()
    alone, order, results = ('--rm', '--network', 'none'), random.Random(1), {}
    workloads = {
        'docker run --rm': lambda name: ('docker', 'run', '--runtime', name, *alone, BOX, 'true'),
        'docker exec': lambda name: ('docker', 'exec', f'up-{name}', 'true'),
        'podman run --rm': lambda name: ('podman', '--runtime', name, 'run', *alone, BOX, 'true'),
        'ctr run --rm': lambda name: ('ctr', 'run', '--rm', '--runc-binary', paths[name], IMAGE, f'ctr-{name}', 'true'),
    }
    for name in paths:
        sh(f'docker run -d --name up-{name} --runtime {name} --network none {BOX} sleep 10000')
    for workload, words in workloads.items():
        samples = {name: [] for name in paths}
        for turn in range(rounds + 1):
            for name in order.sample(sorted(paths), len(paths)):
                begin = time.monotonic()
                call(*words(name), timeout=SLOW).ok()
                if turn:
                    samples[name].append(time.monotonic() - begin)
        results[workload] = {'broken': {}, 'samples': samples}
        print(workload, file=sys.stderr, flush=True)
    print(json.dumps(results))

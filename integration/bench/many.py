"""Many containers: made and removed by several workers, waiting all at once, and told of by `state`, `list` and `events`.

Each measurement is a table as plain data: {'title', 'text', 'head': [...], 'rows': [[...], ...]}.
"""
import statistics
import time

import bundle
from contenders import Broken, weight

WORKERS = 4


def measure(bench, runtimes, options):
    few, many, known = (10, 60, [1, 50, 200]) if options.quick else (10, 500, [1, 100, 1000])
    return [made(bench, runtimes, few, many), told(bench, runtimes, known)]


class Crowd:
    """Containers with cgroups of their own, `@` in place of the number."""

    def __init__(self, bench, runtime, count, kind=bundle.plain):
        self.bench, self.runtime, self.count = bench, runtime, count
        for number in range(count):
            bench.bundle(f'crowd-{runtime.name}/{number}', f'{runtime.name}-{number}', '/bin/sleep', '1000', kind=kind)
        self.bundles = f'{bench.mine}/crowd-{runtime.name}/@'
        self.made = 0

    def create(self, count):
        """(wall ms, CPU ms)"""
        self.made = count
        return self.bench.crowded(WORKERS, count, self.runtime.create(self.bundles, 'm@', f'{self.bundles}/pid'))

    def delete(self):
        return self.bench.crowded(WORKERS, self.made, [*self.runtime.base, 'delete', '--force', 'm@'])

    def weights(self):
        """KiB of PSS and private dirty pages of each that waits."""
        for number in range(self.made):
            with open(self.bundles.replace('@', str(number)) + '/pid') as file:
                yield weight(int(file.read()))[1:]


def made(bench, runtimes, few, many):
    """Turns of few, and one of many, of everyone."""
    crowds = {each.name: Crowd(bench, each, many) for each in runtimes}
    samples = {each.name: [] for each in runtimes}
    for _ in range(7):
        for name, crowd in crowds.items():
            samples[name].append(turn(crowd, few)[0])
    rows, mine = [], None
    for name, crowd in crowds.items():
        (create, delete), pss, dirty = turn(crowd, many)
        at_few = [sum(each) for each in samples[name]]
        both = create + delete
        mine = mine or both
        rows.append([name, statistics.median(at_few), create, delete, both, f'{both / statistics.median(at_few):.2f}',
                     f'{1000 / both:.0f}', '' if both is mine else f'{both / mine:.2f}', pss, dirty])
    return {'title': f'{many} containers by {WORKERS} workers',
            'text': f'Created, and when all wait, deleted by force. Milliseconds for each container: `create` and `delete` '
                    f'with {few} of them (the median of 7 turns), then with {many}.',
            'head': ['', f'both, {few}', f'create, {many}', f'delete, {many}', f'both, {many}', f'÷ at {few}', 'per second',
                     'tare is × as fast', 'waiting: PSS KiB each', 'private dirty KiB each'],
            'rows': rows}


def turn(crowd, count):
    """Wall ms per container of create and of delete, and the mean weights of those that waited."""
    create = crowd.create(count)[0] / count
    time.sleep(0.02)  # they have told of themselves just before they wait
    weights = list(zip(*crowd.weights()))
    delete = crowd.delete()[0] / count
    return (create, delete), *(statistics.mean(column) for column in weights)


def told(bench, runtimes, sizes):
    """One runtime after the other: that many processes would be too much for all at once."""
    verbs = {'state': ['state', 'm0'], 'list': ['list'], 'events': ['events', '--stats', 'm0']}
    seen = {each.name: {verb: [] for verb in verbs} for each in runtimes}
    for each in runtimes:
        crowd = Crowd(bench, each, sizes[-1], bundle.unlinked)
        for size in sizes:
            crowd.create(size)
            for verb, words in verbs.items():
                seen[each.name][verb].append(median(bench, [*each.base, *words]))
            crowd.delete()
    rows = []
    for verb in verbs:
        for name, times in ((name, seen[name][verb]) for name in seen):
            if times[0] is None:
                continue
            of_each = [(late - early) / (big - small) for early, late, small, big in
                       zip(times, times[1:], sizes, sizes[1:])]
            against = '' if name == runtimes[0].name else f'{times[-1] / seen[runtimes[0].name][verb][-1]:.1f}'
            rows.append([verb, name, *times, *([f'{1000 * value:.0f}' for value in of_each] if verb == 'list' else ['', '']),
                         against])
    return {'title': 'Where there are many containers',
            'text': 'Wall milliseconds of one command, medians, back to back; of `list` also the microseconds that each '
                    f'further container takes. They have no network of their own, and wait.',
            'head': ['', '', *(f'{size}' for size in sizes), *(f'each, to {size}, µs' for size in sizes[1:]),
                     'tare is × as fast'],
            'rows': rows}


def median(bench, argv, count=9):
    try:
        return statistics.median(bench.timed(argv)[0] for _ in range(count))
    except Broken:
        return None

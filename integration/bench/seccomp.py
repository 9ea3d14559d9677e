"""Docker's seccomp profile: what it costs a call in the container, and how long it takes to become a program."""
import os
import statistics
import subprocess

import bundle
from contenders import in_turns

TURNS = 5


def measure(bench, runtimes, options):
    kinds = {'without a filter': bundle.unlinked, "with Docker's profile": bundle.docker}
    directories = {(each.name, kind): each.bundle(f'calls-{number}', '/bin/calls', kind=how)
                   for number, (kind, how) in enumerate(kinds.items()) for each in runtimes}
    seen = {key: [] for key in directories}
    for each in in_turns(TURNS, runtimes):
        for kind in kinds:
            done = subprocess.run(each.run(directories[each.name, kind]), stdin=subprocess.DEVNULL, capture_output=True, check=True)
            seen[each.name, kind].append([float(word) for word in done.stdout.split()])
    rows = [[name, kind, *(min(column) for column in zip(*times))] for (name, kind), times in seen.items()]
    return [{'title': "Docker's seccomp profile",
            'text': f'Nanoseconds for a call in the container, the least of {TURNS} turns. `getppid` is allowed whatever its '
                    'arguments: the kernel remembers that of a filter and does not run it. Of `personality` the profile '
                    f'looks at the argument, so the program runs.{compiled(options, directories)}',
            'head': ['', '', '`getppid`', '`personality`'],
            'rows': rows}]


def compiled(options, directories):
    """Of our compiler alone."""
    program = os.path.join(options.built, 'examples', 'seccomp-compile')
    if not os.access(program, os.X_OK):
        return ''
    path = next(directory for (_, kind), directory in directories.items() if 'Docker' in kind)
    words = [program, f'{path}/config.json']
    times = [subprocess.run(words, capture_output=True, check=True, text=True).stdout.split() for _ in range(TURNS)]
    median, first = (statistics.median(float(row[column]) for row in times) for column in (0, 1))
    return (f' The profile becomes a program of {times[0][2]} instructions in {median:.0f} µs; the first time in a process, '
            f'which is the only one of a command, in {first:.0f} µs.')

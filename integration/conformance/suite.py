"""Runs other people's test suites with a peer and with tare, and says where tare falls behind.

A suite is found at a path that the caller names; nothing of it is copied or fetched here. Each program of a suite
runs in a mount, network, host name and process namespace of its own: what it mounts, renames or leaves running is
gone with it. Cgroups are the machine's (that is what is tested); those that carry the run's names are removed.
"""
import argparse
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import in_suite  # noqa: E402

ENTER = ('unshare', '--mount', '--propagation', 'private', '--net', '--uts', '--pid', '--fork', '--kill-child',
         '--mount-proc')
# A /run of its own keeps the records of containers, network namespaces and sockets apart from the machine's.
INSIDE = 'mount -t tmpfs tmpfs /run && mkdir -m 1777 /run/lock && ip link set lo up && cd "$1" && shift && exec "$@"'


def options(what, default_peer):
    """The command line that all suites share."""
    in_suite.enter()
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument('suite', help='the directory of the suite, built')
    parser.add_argument('only', nargs='*', help='only the programs of the suite with this in their name')
    target = subprocess.run(f'{root}/integration/target', stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    parser.add_argument('--tare', default=os.environ.get('TARE', f'{root}/target/{target}/debug/tare'))
    parser.add_argument('--peer', action='append', help=f'a runtime to compare with (default: {default_peer}); '
                        'the first one is what tare is held against')
    parser.add_argument('--suite', metavar='NAME', dest='debian', help=in_suite.HELP)
    parser.add_argument('--logs', help='keep what the programs print in this directory')
    found = parser.parse_args()
    found.peer = [shutil.which(peer) or sys.exit(f'no such runtime: {peer}') for peer in found.peer or [default_peer]]
    found.tare = shutil.which(found.tare) or sys.exit(f'no such runtime: {found.tare}')
    found.suite = os.path.abspath(found.suite)
    if os.getuid() != 0:
        sys.exit('containers are made: run this as root')
    return found


def run(argv, directory, env, timeout):
    """What a program of a suite prints, run alone, and whether it came to its end in time."""
    scratch = tempfile.mkdtemp(prefix='conformance-')
    os.chmod(scratch, 0o755)  # user namespaces are to find their way to the bundles
    env = {**os.environ, 'TMPDIR': scratch, **env}
    # The suites take it that somebody started them at a terminal.
    controller, terminal = os.openpty()
    child = subprocess.Popen([*ENTER, 'sh', '-ec', INSIDE, 'sh', directory, *argv], env=env, stdin=terminal,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(terminal)
    try:
        out, _ = child.communicate(timeout=timeout)
        return out.decode(errors='replace'), child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # `unshare` takes the process namespace along
        return child.communicate()[0].decode(errors='replace') + f'\nno end after {timeout} s\n', 124
    finally:
        os.close(controller)
        shutil.rmtree(scratch, ignore_errors=True)


def points(tap):
    """The test points of TAP output: (description, 'pass', 'fail' or 'skip')."""
    for line in tap.splitlines():
        found = re.match(r'(not )?ok \d+ ?(?:- )?(.*)', line)
        if not found:
            continue
        # What a point took is not part of its name.
        name, skip, _ = re.sub(r' in \d+ms', '', found[2]).partition('# ')
        if skip and _.lower().startswith('skip'):
            yield name.strip(), 'skip'
        else:
            yield name.strip(), 'fail' if found[1] else 'pass'


def keep(logs, name, runtime, text):
    """What a program printed, for who wants to know why."""
    if logs:
        os.makedirs(logs, exist_ok=True)
        with open(os.path.join(logs, f'{name}.{runtime}.tap'), 'w', encoding='utf-8') as file:
            file.write(text)


def names(runtimes):
    """How the runtimes are called in the tables: the program's name, and a number where two share it."""
    seen, called = {}, []
    for runtime in runtimes:
        name = os.path.basename(runtime)
        seen[name] = seen.get(name, 0) + 1
        called.append(name if seen[name] == 1 else f'{name}-{seen[name]}')
    return called


def verdict(results, runtimes):
    """Prints who passed how many, and each case that the first runtime passes and the last one does not; their
    number is the answer."""
    peer, ours = runtimes[0], runtimes[-1]
    print()
    for runtime in runtimes:
        values = [row[runtime] for row in results.values() if runtime in row]
        print(f'{runtime:>10}: ' + ', '.join(f'{values.count(word)} {word}' for word in ('pass', 'fail', 'skip')))
    behind = [case for case, row in results.items() if row.get(peer) == 'pass' and row.get(ours) != 'pass']
    ahead = [case for case, row in results.items() if row.get(peer) != 'pass' and row.get(ours) == 'pass']
    print(f'\npassed by {ours} and not by {peer}: {len(ahead)}')
    for case in ahead:
        print(f'    {case}: {peer} {results[case].get(peer, "-")}')
    print(f'passed by {peer} and not by {ours}: {len(behind)}')
    for case in behind:
        print(f'    {case}: {ours} {results[case].get(ours, "-")}')
    return len(behind)

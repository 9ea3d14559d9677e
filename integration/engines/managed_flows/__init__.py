"""The machine's manager, and what the flows of several engines share."""
import re

from harness import call, check, within

BOX = 'busybox'
PROBE = ('-v', '/opt/probe:/bin/probe:ro')
# A first process that says when it is up, and ends with 3 when it is asked to.
IDLE = ('sh', '-c', 'trap "exit 3" TERM; echo ready; while :; do sleep 1; done')
# Counts in memory alone, and shows the count.
COUNTS = ('sh', '-c', 'n=0; while :; do n=$((n + 1)); echo $n >/tmp/n; sleep 0.2; done')
SLOW = 30  # seconds, of a machine that is not emulated


def sh(line):
    """What a line of shell prints; it must succeed."""
    return call('bash', '-o', 'pipefail', '-c', line, timeout=SLOW).ok()


def shown(unit, *names, user=False):
    """Properties of a unit."""
    text = sh(f'{"as-tester " if user else ""}systemctl {"--user " if user else ""}show -p {",".join(names)} {unit}')
    return dict(line.split('=', 1) for line in text.splitlines())


def reaches(unit, state, seconds=12):
    within(seconds, lambda: shown(unit, 'ActiveState')['ActiveState'] == state, f'{unit} is {state}')


def plain(text):
    """Without ids, which are others each time."""
    return re.sub(r'[0-9a-f]{64}', 'ID', text)


def install(unit, text):
    with open(f'/run/systemd/system/{unit}', 'w') as file:
        file.write(text)


PROFILE = '''
#include <tunables/global>
profile %s flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>
  file, capability, network, mount, umount, signal, ptrace, unix,
  deny /tmp/no w,
}
'''


def profile(name='tare-test'):
    """Loads an AppArmor profile that denies one file."""
    call('apparmor_parser', '-r', stdin=PROFILE % name, timeout=SLOW).ok()
    return name


def apparmor(it):
    """The profile of a container and of what is executed in it: the engine's own, none, ours; and one that is missing."""
    name, label = profile(), 'cat /proc/self/attr/current; touch /tmp/no; touch /tmp/yes && echo made'
    seen = [it.run(BOX, 'cat', '/proc/self/attr/current').ok(),
            it.run('--security-opt', 'apparmor=unconfined', BOX, 'cat', '/proc/self/attr/current').ok()]
    check(seen[1] == 'unconfined', f'{seen}')
    ours = it.run('--security-opt', f'apparmor={name}', BOX, 'sh', '-c', label)
    check(ours.out == f'{name} (enforce)\nmade\n' and 'Permission denied' in ours.err, f'{ours.out!r} {ours.err!r}')
    up = it.up('--security-opt', f'apparmor={name}')
    seen.append(it.engine.call('exec', up, 'cat', '/proc/self/attr/current').ok())
    check(seen[2] == f'{name} (enforce)', f'{seen}')
    missing = it.run('--security-opt', 'apparmor=no-such-profile', BOX, 'true')
    check(missing.status != 0 and 'no-such-profile' in missing.err, f'{missing.status} {missing.err!r}')
    return seen, missing.status

"""Users, capabilities, confinement."""
import json
import os
import shutil

import inside
from harness import DEBIAN_PATH, Skip, check

from . import BOX, flow


def status_of(it, *options):
    return it.box('cat', '/proc/self/status', options=options)


@flow('confinement of the default container')
def _(it):
    return inside.confinement(status_of(it))


@flow('--user')
def _(it):
    seen = [it.box('id', options=['--user', user]) for user in ('1000', '1000:29', 'tester', '4321:8765')]
    check('uid=1000' in seen[0], f'{seen}')
    return seen + inside.confinement(status_of(it, '--user', 'tester'))


@flow('--group-add')
def _(it):
    return it.box('id', options=['--group-add', 'audio', '--group-add', '777'])


@flow('--cap-drop ALL')
def _(it):
    found = inside.capabilities(status_of(it, '--cap-drop', 'ALL'))
    check(not any(found.values()), f'no capability in any set: {found}')
    refused = it.run('--cap-drop', 'ALL', BOX, 'chown', '1000', '/etc/passwd')
    check('not permitted' in refused.err, f'{refused.err!r}')


@flow('--cap-add')
def _(it):
    found = inside.capabilities(status_of(it, '--cap-drop', 'ALL', '--cap-add', 'NET_ADMIN'))
    check(found['CapEff'] == 1 << 12, f'{found}')
    return found


@flow('--privileged', must=True)
def _(it):
    status = status_of(it, '--privileged')
    check(inside.capabilities(status)['CapEff'] & 1 << 21, 'CAP_SYS_ADMIN is there')
    check('Seccomp:\t0' in status, 'no seccomp')
    check(it.box('sh', '-c', 'mount -t tmpfs none /tmp && echo x > /proc/sys/kernel/domainname && ls /dev/kmsg',
                 options=['--privileged']) == '/dev/kmsg', 'it mounts, writes sysctls, sees devices')


@flow('--security-opt no-new-privileges')
def _(it):
    options = ['--user', '1000', '--security-opt', 'no-new-privileges']
    check('NoNewPrivs:\t1' in status_of(it, *options), 'set')
    with_it, without = it.box('who', options=options), it.box('who', options=options[:2])
    check((with_it, without) == ('1000', '0'), f'set-user-ID: {with_it} with, {without} without')


@flow('seccomp: in force, and denies')
def _(it):
    check('Seccomp:\t2' in status_of(it), 'a filter is loaded')
    seen = {name: it.box('probe', name) for name in inside.GATES}
    check(seen['unshare'] == 'EPERM', f'a denied call: {seen}')
    check(seen['int80'] != 'allowed' and seen['x32'] != 'allowed', f'other gates are shut: {seen}')
    return seen


@flow('seccomp=unconfined')
def _(it):
    options = ['--security-opt', 'seccomp=unconfined']
    check('Seccomp:\t0' in status_of(it, *options), 'no filter')
    check(it.box('probe', 'unshare', options=options) == 'allowed', 'the call goes through')


@flow('seccomp=FILE')
def _(it):
    path = it.engine.shared + '/profile.json'
    with open(path, 'w') as file:
        json.dump({'defaultAction': 'SCMP_ACT_ALLOW', 'architectures': ['SCMP_ARCH_X86_64', 'SCMP_ARCH_AARCH64'],
                   'syscalls': [{'names': ['mkdir', 'mkdirat'], 'action': 'SCMP_ACT_ERRNO', 'errnoRet': 28}]}, file)
    result = it.run('--security-opt', 'seccomp=' + path, BOX, 'mkdir', '/tmp/x')
    check('No space left' in result.err, f'the profile\'s own errno: {result.err!r}')


@flow('default devices')
def _(it):
    return it.box('sh', '-c', inside.DEVICES)


@flow('--device')
def _(it):
    if not os.path.exists('/dev/fuse'):
        raise Skip('no /dev/fuse')
    return it.box('sh', '-c', 'stat -c "%n %F %a %t:%T" /dev/f; head -c0 /dev/f; echo $?', options=['--device', '/dev/fuse:/dev/f:rw'])


@flow('a device that was not given')
def _(it):
    name = it.up()
    result = it.docker('exec', name, 'sh', '-c', 'mknod /tmp/kmsg c 1 11; head -c1 /tmp/kmsg')
    check('not permitted' in result.err, f'{result.err!r}')
    return result.err


@flow('--ulimit')
def _(it):
    return it.box('sh', '-c', 'ulimit -n; ulimit -Hn; ulimit -u', options=['--ulimit', 'nofile=100:200', '--ulimit', 'nproc=500:500'])


@flow('--sysctl')
def _(it):
    return it.box('cat', '/proc/sys/net/ipv4/ip_forward', '/proc/sys/kernel/msgmax',
                  options=['--sysctl', 'net.ipv4.ip_forward=1', '--sysctl', 'kernel.msgmax=12345'])


@flow('--oom-score-adj')
def _(it):
    return it.box('cat', '/proc/self/oom_score_adj', options=['--oom-score-adj', '500'])


@flow('--hostname, --domainname')
def _(it):
    return it.box('sh', '-c', 'hostname; cat /proc/sys/kernel/domainname', options=['--hostname', 'boxed', '--domainname', 'example.org'])


@flow('--init')
def _(it):
    if not shutil.which('docker-init', path=DEBIAN_PATH):
        raise Skip('no docker-init')
    return it.box('sh', '-c', 'tr "\\0" " " < /proc/1/cmdline', options=['--init'])


@flow('--device-cgroup-rule')
def _(it):
    if not os.path.exists('/dev/fuse'):
        raise Skip('no /dev/fuse')
    script = 'mknod /tmp/fuse c 10 229; : < /tmp/fuse && echo open'
    refused = it.docker('exec', it.up(), 'sh', '-c', script)
    check('not permitted' in refused.err, f'{refused.err!r}')
    given = it.docker('exec', it.up('--device-cgroup-rule', 'c 10:229 rmw'), 'sh', '-c', script)
    check(given.out.strip() == 'open', f'{given.out!r} {given.err!r}')


@flow('apparmor=unconfined, label=disable')
def _(it):
    return it.box('echo', 'runs', options=['--security-opt', 'apparmor=unconfined', '--security-opt', 'label=disable'])

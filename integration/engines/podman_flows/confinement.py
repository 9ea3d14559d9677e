"""Users, capabilities, confinement."""
import os

import inside
from harness import Skip, check

from . import flow


@flow('confinement of the default container')
def _(it):
    return inside.confinement(it.box('cat', '/proc/self/status'))


@flow('--user, --group-add')
def _(it):
    return [it.box('id', options=options) for options in (
        ('--user', '1000'), ('--user', 'tester'), ('--user', '4321:8765', '--group-add', '777'))]


@flow('--cap-drop, --cap-add')
def _(it):
    found = inside.capabilities(it.box('cat', '/proc/self/status', options=('--cap-drop', 'all', '--cap-add', 'NET_ADMIN')))
    check(found['CapEff'] == 1 << 12, f'{found}')
    return found


@flow('--privileged', must=True)
def _(it):
    status = it.box('cat', '/proc/self/status', options=('--privileged',))
    check(inside.capabilities(status)['CapEff'] & 1 << 21, 'CAP_SYS_ADMIN is there')


@flow('--security-opt no-new-privileges')
def _(it):
    options = ('--user', '1000', '--security-opt', 'no-new-privileges')
    check((it.box('who', options=options), it.box('who', options=options[:2])) == ('1000', '0'), 'set-user-ID')


@flow('seccomp: in force, and denies')
def _(it):
    check('Seccomp:\t2' in it.box('cat', '/proc/self/status'), 'a filter is loaded')
    seen = {name: it.box('probe', name) for name in inside.GATES}
    # Podman's profile allows unshare; what it denies is there to be compared.
    check('Seccomp:\t0' in it.box('cat', '/proc/self/status', options=('--security-opt', 'seccomp=unconfined')), 'and not when unconfined')
    return seen


@flow('default devices')
def _(it):
    return it.box('sh', '-c', inside.DEVICES)


@flow('--device')
def _(it):
    if not os.path.exists('/dev/fuse'):
        raise Skip('no /dev/fuse')
    return it.box('stat', '-c', '%n %F %t:%T', '/dev/f', options=('--device', '/dev/fuse:/dev/f'))


@flow('--sysctl')
def _(it):
    return it.box('cat', '/proc/sys/net/ipv4/ip_forward', '/proc/sys/kernel/msgmax',
                  options=('--sysctl', 'net.ipv4.ip_forward=1', '--sysctl', 'kernel.msgmax=12345'))

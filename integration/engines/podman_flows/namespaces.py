"""Namespaces, pods, networks."""
import os

from harness import Skip, call, check, within

from . import BOX, flow


@flow('--pid, --ipc, --uts, --network host')
def _(it):
    for kind, option in (('pid', '--pid'), ('ipc', '--ipc'), ('uts', '--uts'), ('net', '--network'), ('cgroup', '--cgroupns')):
        seen = it.box('readlink', f'/proc/self/ns/{kind}', options=(option, 'host'))
        check(seen == os.readlink(f'/proc/self/ns/{kind}'), f'{option} host')


@flow('--cgroupns private')
def _(it):
    return it.box('sh', '-c', 'cat /proc/self/cgroup; ls /sys/fs/cgroup | sort', options=('--cgroupns', 'private'))


@flow('pod: shared network and pid namespaces, one killed')
def _(it):
    pod = it.pod()
    one, two = it.up('--pod', pod), it.up('--pod', pod)
    for kind in ('net', 'ipc', 'uts', 'pid'):
        seen = {it.podman('exec', name, 'readlink', f'/proc/self/ns/{kind}').ok() for name in (one, two)}
        check(len(seen) == 1, f'{kind} is shared: {seen}')
    check(it.podman('exec', one, 'ps', '-o', 'args').out.count('while') == 2, 'one sees the other\'s process')
    it.podman('kill', '-s', 'KILL', one).ok()
    check(it.stopped(one) == 137, 'the first is dead')
    check(it.podman('exec', two, 'echo', 'alive').ok() == 'alive', 'the second lives')


@flow('pod: stop, start, pause, top, rm')
def _(it):
    pod = it.pod()
    one, two = it.up('--pod', pod), it.up('--pod', pod)
    it.podman('pod', 'stop', '-t', '3', pod).ok()  # the pod's own process hears nothing: it is killed then
    check([it.stopped(name) for name in (one, two)] == [3, 3], 'both have ended by themselves')
    it.podman('pod', 'start', pod).ok()
    within(20, lambda: it.podman('logs', two).out.count('ready') == 2, 'up again')
    if it.engine.groups:
        it.podman('pod', 'pause', pod).ok()
        check(it.inspect(two, '.State.Status') == 'paused', 'paused')
        it.podman('pod', 'unpause', pod).ok()
    check(it.podman('pod', 'top', pod, 'args').ok().count('while') == 2, 'top shows both')
    it.podman('pod', 'rm', '-f', '-t', '0', pod).ok()
    check(not it.podman('ps', '-aq').ok(), 'none is left')


@flow('bridge network and a published port')
def _(it):
    if it.run('--network', 'podman', BOX, 'true').status != 0:
        raise Skip('no bridge network: no CNI or netavark, or the kernel lacks bridge, veth or NAT')
    port = 18083 if it.runtime == 'tare' else 18084
    server = it.up('--network', 'podman', '-p', f'127.0.0.1:{port}:80',
                   command=('sh', '-c', 'mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www'))
    address = it.inspect(server, '.NetworkSettings.IPAddress')
    within(10, lambda: 'served' in it.run('--network', 'podman', BOX, 'wget', '-qO-', f'http://{address}/').out, 'from a container')
    within(10, lambda: 'served' in call('/bin/busybox', 'wget', '-qO-', f'http://127.0.0.1:{port}/').out, 'through the port')

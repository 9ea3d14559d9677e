"""Networks, in the sandbox's own network namespace."""
import json

from harness import Skip, call, within

from . import BOX, flow


def bridge(it):
    if it.docker('network', 'inspect', 'bridge').status != 0:
        raise Skip('no bridge network: the kernel lacks bridge, veth or NAT')


@flow('bridge network: two containers and a published port')
def _(it):
    bridge(it)
    port = {'tare': 18081}.get(it.runtime, 18082)
    server = it.up('--network', 'bridge', '-p', f'127.0.0.1:{port}:80',
                   command=('sh', '-c', 'mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www'))
    address = json.loads(it.inspect(server, '.NetworkSettings.IPAddress'))
    within(10, lambda: 'served' in it.run('--network', 'bridge', BOX, 'wget', '-qO-', f'http://{address}/').out, 'from a container')
    within(10, lambda: 'served' in call('/bin/busybox', 'wget', '-qO-', f'http://127.0.0.1:{port}/').out, 'through the port')


@flow('user-defined network: names resolve', fast=False)
def _(it):
    bridge(it)
    network = f'net-{it.runtime}'
    it.docker('network', 'create', network).ok()
    try:
        it.up('--network', network, '--name', f'server-{it.runtime}',
              command=('sh', '-c', 'mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www'))
        within(10, lambda: 'served' in it.run('--network', network, BOX, 'wget', '-qO-', f'http://server-{it.runtime}/').out, 'by name')
    finally:
        it.engine.clean(it)
        it.docker('network', 'rm', network)


@flow('resolv.conf, hosts and hostname are files of the engine')
def _(it):
    return it.box('sh', '-c', 'for f in resolv.conf hosts hostname; do grep -q " /etc/$f " /proc/mounts && echo $f; done; '
                  'test "$(cat /etc/hostname)" = "$(hostname)" && echo same')


@flow('--add-host, --dns')
def _(it):
    return it.box('sh', '-c', 'grep example /etc/hosts; cat /etc/resolv.conf | grep -v "^#"',
                  options=['--network', 'bridge', '--add-host', 'example.org:192.0.2.7', '--dns', '192.0.2.1', '--dns-search', 'example.com'])

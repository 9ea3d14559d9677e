"""What Podman can since it is newer than Debian 12's."""
import os
import re
import shlex

from harness import Skip, call, check, within

from . import BOX, flow
from .activation import Supervisor

QUADLET = '/usr/libexec/podman/quadlet'


@flow('quadlet: a unit becomes a service that runs', since=(5,))
def _(it):
    home = f'{it.engine.shared}/quadlet-{it.runtime}'
    os.makedirs(home, exist_ok=True)
    words = it.base[it.base.index(it.engine.binary) + 1:]
    parent = f'PodmanArgs=--cgroup-parent /{it.engine.group}\n' if it.engine.groups else ''
    with open(home + '/box.container', 'w') as file:
        file.write(f'[Unit]\nDescription=a box\n[Container]\nContainerName=quadlet-{it.runtime}\nImage={BOX}\nPull=never\nNetwork=none\n'
                   f'Environment=GIVEN=yes\nReadOnly=true\nNoNewPrivileges=true\nDropCapability=all\nTmpfs=/scratch\nNotify=true\n'
                   f'CgroupsMode=no-conmon\nGlobalArgs={shlex.join(words)}\n{parent}'
                   'Exec=sh -c "echo $$GIVEN; touch /x; touch /scratch/x && grep -e NoNewPrivs -e CapEff /proc/self/status; exec probe notify READY=1"\n')
    made = call(QUADLET, '--dryrun', *(() if it.engine.groups else ('--user',)), env=dict(it.engine.env, QUADLET_UNIT_DIRS=home)).ok()
    start = re.search(r'^ExecStart=(.*)$', made, re.M)
    check(start, f'no service: {made}')
    command = start.group(1).replace('%t', home).replace('%N', 'box').replace('%%', '%')
    supervisor = Supervisor(it)
    words = [re.sub(r'\\x(..)', lambda byte: chr(int(byte[1], 16)), word).replace('$$', '$')
             for word in shlex.split(command.replace('\\', '\\\\'))]
    result = call(*it.base[:it.base.index(it.engine.binary)], *words, env=dict(it.engine.env, NOTIFY_SOCKET=supervisor.path))
    result.ok()
    name = f'quadlet-{it.runtime}'
    within(20, lambda: supervisor.heard('READY=1'), f'ready: {command}: {supervisor.words!r}: {it.podman("logs", name).err}')
    check(it.inspect(name, '.OCIRuntime') == it.runtime, 'the runtime that was asked for')
    said = it.podman('logs', name)
    return said.out, said.err


def tunnel(result):
    if 'open() /dev/net/tun: Permission denied' in result.err:
        raise Skip('this user may not open /dev/net/tun')


@flow('--network pasta', since=(5,))
def _(it):
    if it.engine.groups:
        raise Skip('for users who are not root')
    seen = it.run('--network', 'pasta', BOX, 'sh', '-c', 'ip link show lo | grep -c UP; ls /sys/class/net | grep -vc "^lo$"; cat /etc/resolv.conf | wc -l')
    tunnel(seen)
    return seen.ok().split()[:1]


@flow('healthcheck: the probe of the start, then the usual one', since=(5,))
def _(it):
    name = it.up('--health-cmd', 'test -e /tmp/well', '--health-interval', 'disable', '--health-startup-cmd', 'test -e /tmp/started',
                 '--health-startup-interval', 'disable', '--health-startup-success', '1')
    seen = []
    for file in ('', '/tmp/started', '/tmp/well'):
        if file:
            it.podman('exec', name, 'touch', file).ok()
        for _ in range(2):
            seen.append((it.podman('healthcheck', 'run', name).status, it.inspect(name, '.State.Health.Status')))
    return seen


@flow('pod: --restart of its containers', since=(5,))
def _(it):
    pod = it.pod('--restart', 'on-failure:2')
    name = it.podman(*it.words('-d', '--pod', pod, '--restart', 'on-failure:2'), BOX, 'sh', '-c', 'echo again; exit 3').ok()
    within(30, lambda: it.podman('logs', name).out.count('again') == 3, 'it ran three times')
    within(20, lambda: it.inspect(name, '.State.Status') == 'exited', 'and no more')
    return it.inspect(name, '.RestartCount'), it.inspect(name, '.State.ExitCode')


@flow('kube play: a Deployment with an init container', fast=False, since=(5,))
def _(it):
    path = f'{it.engine.work}/deployment-{it.runtime}.yaml'
    with open(path, 'w') as file:
        file.write(f'''apiVersion: apps/v1
kind: Deployment
metadata: {{name: many}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: many}}}}
  template:
    metadata: {{labels: {{app: many}}}}
    spec:
      hostNetwork: true
      initContainers:
      - {{name: first, image: {BOX}, imagePullPolicy: Never, command: [sh, -c, "echo first > /shared/made"],
         volumeMounts: [{{name: shared, mountPath: /shared}}]}}
      containers:
      - name: one
        image: {BOX}
        imagePullPolicy: Never
        command: [sh, -c, "cat /shared/made; id -u; touch /x; sleep 1000"]
        securityContext: {{readOnlyRootFilesystem: true, runAsUser: 1000, capabilities: {{drop: [ALL]}}}}
        volumeMounts: [{{name: shared, mountPath: /shared}}]
      volumes: [{{name: shared, emptyDir: {{}}}}]
''')
    it.podman('kube', 'play', path, timeout=120).ok()
    name = it.podman('ps', '--format', '{{.Names}}', '--filter', 'name=many-pod.*-one').ok()
    within(10, lambda: 'Read-only' in it.podman('logs', name).err, 'it has run')
    seen = it.podman('logs', name)
    check(it.inspect(name, '.OCIRuntime') == it.runtime, 'the runtime that was asked for')
    it.podman('kube', 'down', path, timeout=120).ok()
    check(not it.podman('ps', '-aq').ok(), 'none is left')
    return seen.out, seen.err


@flow('--secret: as a file with an owner, as a variable', since=(5,))
def _(it):
    name = f'told-{it.runtime}'
    it.podman('secret', 'create', name, '-', stdin='hidden').ok()
    try:
        return it.box('sh', '-c', 'echo $TOLD; cat /run/mine; stat -c "%u %g %a" /run/mine; touch /run/mine 2>&1 | sed "s/.*: //"',
                      options=('--secret', f'{name},type=env,target=TOLD', '--user', '1000',
                               '--secret', f'{name},type=mount,target=/run/mine,uid=1000,gid=29,mode=0400'))
    finally:
        it.podman('secret', 'rm', name)


@flow('--mount type=image: read only, writable, a directory of it', since=(5,))
def _(it):
    seen = [it.box('sh', '-c', 'cat /img/etc/plain; touch /img/x 2>/dev/null && echo written || echo refused',
                   options=('--mount', f'type=image,source={BOX},destination=/img{words}')) for words in ('', ',rw=true')]
    check([each.split()[-1] for each in seen] == ['refused', 'written'], f'{seen}')
    seen.append(it.box('cat', '/img/plain', options=('--mount', f'type=image,source={BOX},destination=/img,subpath=/etc')))
    return seen


@flow('container clone', since=(5,))
def _(it):
    name = it.up('-e', 'KEPT=yes', '--name', f'first-{it.runtime}')
    limit = ('--memory', '64m') if it.engine.groups else ()
    clone = it.podman('container', 'clone', '--run', *limit, name, f'second-{it.runtime}')
    tunnel(clone)
    clone.ok()
    second = f'second-{it.runtime}'
    within(20, lambda: 'ready' in it.podman('logs', second).out, 'it is up')
    check(it.inspect(second, '.OCIRuntime') == it.runtime, f'{it.inspect(second, ".OCIRuntime")}')
    return it.podman('exec', second, 'sh', '-c', 'echo $KEPT').ok()


@flow('a volume with options: an owner, mapped ids', since=(5,))
def _(it):
    names = [f'{kind}-{it.runtime}' for kind in ('tmpfs', 'mapped')]
    try:
        it.podman('volume', 'create', '-o', 'type=tmpfs', '-o', 'device=tmpfs', '-o', 'o=size=1m,nodev,noexec,uid=1000', names[0]).ok()
        seen = it.box('sh', '-c', 'stat -c %u /v; grep " /v " /proc/mounts | cut -d" " -f3-4', options=('-v', names[0] + ':/v'))
        if not it.engine.groups:
            return seen
        it.podman('volume', 'create', names[1]).ok()
        mapped = it.box('sh', '-c', 'touch /v/made; stat -c %u /v /v/made', options=(
            '--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536', '-v', f'{names[1]}:/v:idmap'))
        check(mapped.split() == ['0', '0'], f'{mapped!r}')
        return seen, mapped
    finally:
        it.podman('volume', 'rm', '-f', *names)

"""What Docker can since it is newer than Debian 12's."""
import json
import os

from harness import Failed, Skip, call, check

from . import BOX, flow


def bundle(it, name):
    """The configuration that the runtime was given."""
    with open(f'{it.engine.main(it.runtime).home}/exec/containerd/daemon/io.containerd.runtime.v2.task/moby/{name}/config.json') as file:
        return json.load(file)


@flow('--annotation', since=(25,))
def _(it):
    name = it.up('--annotation', 'org.example.note=told', '--annotation', 'org.example.empty=')
    seen = bundle(it, name)['annotations']
    check(seen['org.example.note'] == 'told', f'{seen}')
    return it.docker('exec', name, 'echo', 'runs').ok(), seen


@flow('--mount bind-recursive', since=(25,))
def _(it):
    base = f'{it.engine.shared}/recursive-{it.runtime}'
    os.makedirs(base + '/below', exist_ok=True)
    call('mount', '-t', 'tmpfs', 'below', base + '/below').ok()
    try:
        seen = {}
        for words in ('bind-recursive=disabled', 'bind-recursive=enabled', 'readonly,bind-recursive=writable',
                      'readonly,bind-recursive=readonly,bind-propagation=rprivate', 'readonly'):
            seen[words] = it.box('sh', '-c', 'grep -c " /data/below " /proc/mounts; for f in /data/x /data/below/x; do '
                                             'touch $f 2>/dev/null && echo written || echo refused; done; true',
                                 options=['--mount', f'type=bind,source={base},destination=/data,{words}']).split()
    except Failed as fault:
        # A runtime with `runtimeType` is never asked for its features by Docker, whichever it is.
        if it.runtime == 'shim' and 'OCI features struct is not available' in str(fault):
            raise Skip('needs a Docker that asks a shim for its features') from None
        raise
    finally:
        call('umount', base + '/below').ok()
    check(seen['bind-recursive=disabled'] == ['0', 'written', 'written'], f'{seen}')
    check(seen['readonly,bind-recursive=writable'] == ['1', 'refused', 'written'], f'{seen}')
    check(seen['readonly,bind-recursive=readonly,bind-propagation=rprivate'] == ['1', 'refused', 'refused'], f'{seen}')
    return seen


@flow('--mount volume-subpath', since=(26,))
def _(it):
    volume = f'subpath-{it.runtime}'
    try:
        it.box('sh', '-c', 'mkdir /v/sub; echo below > /v/sub/f; echo above > /v/f', options=['-v', volume + ':/v'])
        mount = f'type=volume,source={volume},destination=/v,volume-subpath=sub'
        return it.box('sh', '-c', 'cat /v/f; ls /v', options=['--mount', mount])
    finally:
        it.docker('volume', 'rm', volume)


@flow('--device vendor.example/class=name: CDI', since=(27,))
def _(it):
    home = f'{it.engine.work}/cdi-{it.runtime}'
    os.makedirs(home + '/specs', exist_ok=True)
    device = {'name': 'one', 'containerEdits': {
        'env': ['FROM_CDI=yes'],
        'deviceNodes': [{'path': '/dev/vendor0', 'hostPath': '/dev/null', 'permissions': 'rw'}],
        'mounts': [{'hostPath': home, 'containerPath': '/cdi', 'options': ['ro', 'nosuid', 'nodev', 'bind']}],
        'hooks': [{'hookName': 'createContainer', 'path': '/bin/sh', 'args': ['sh', '-c', f'cat > {home}/state']}]}}
    with open(home + '/specs/vendor.json', 'w') as file:
        json.dump({'cdiVersion': '0.6.0', 'kind': 'vendor.example/class', 'devices': [device]}, file)
    it.own_daemon('--feature', 'cdi=true', '--cdi-spec-dir', home + '/specs')
    seen = it.box('sh', '-c', 'echo $FROM_CDI; stat -c "%F %t:%T" /dev/vendor0; echo x > /dev/vendor0 && echo open; '
                              'touch /cdi/x 2>&1 | sed "s/.*: //"; ls /cdi', options=['--device', 'vendor.example/class=one'])
    with open(home + '/state') as file:
        state = json.load(file)
    check(state['status'] == 'creating' or state['status'] == 'created', f'the hook was told: {state}')
    refused = it.run('--device', 'vendor.example/class=none', BOX, 'true')
    check(refused.status and 'unresolvable' in refused.err, f'{refused.err!r}')
    return seen, sorted(state)


@flow('containerd\'s image store', fast=False, since=(27,))
def _(it):
    it.own_daemon('--feature', 'containerd-snapshotter=true')
    check('io.containerd' in it.docker('info', '-f', '{{json .DriverStatus}}').ok(), 'it is the one that is used')
    name = it.up('-v', f'{it.engine.shared}:/shared')
    it.docker('exec', name, 'sh', '-c', 'echo changed > /etc/plain; rm /etc/group').ok()
    changes = sorted(it.docker('diff', name).ok().splitlines())
    it.docker('commit', name, 'changed:latest').ok()
    seen = it.box('cat', '/etc/plain', options=['--entrypoint', '']), it.run('changed', 'cat', '/etc/plain').ok()
    check(seen == ('not a program', 'changed'), f'{seen}')
    it.docker('stop', name).ok()
    return changes, it.stopped(name)


@flow('docker build by BuildKit: RUN steps run in the runtime', since=(23,))
def _(it):
    log, wrapper = f'{it.engine.work}/buildkit-{it.runtime}', f'{it.engine.work}/buildkit-wrapper-{it.runtime}'
    with open(wrapper, 'w') as file:
        file.write(f'#!/bin/sh\necho "$@" >> {log}\nexec {it.engine.runtimes[it.runtime]} "$@"\n')
    os.chmod(wrapper, 0o755)
    # It does not ask which runtime is the default.
    it.own_daemon(env={'DOCKER_BUILDKIT_RUNC_COMMAND': wrapper})
    context = f'{it.engine.work}/buildkit-context-{it.runtime}'
    os.makedirs(context)
    with open(context + '/secret', 'w') as file:
        file.write('hidden\n')
    with open(context + '/Dockerfile', 'w') as file:
        file.write(f'FROM {BOX} AS first\nRUN echo built > /made && id -u >> /made\n'
                   'FROM first\nUSER tester\nWORKDIR /tmp\n'
                   'RUN --mount=type=secret,id=s,uid=1000 --mount=type=cache,target=/c,uid=1000 --mount=type=tmpfs,target=/t '
                   'cat /run/secrets/s > here && id -u >> here && touch /c/x /t/x && grep -c " /t tmpfs" /proc/mounts >> here && '
                   'grep -E "^(NoNewPrivs|Seccomp|CapEff)" /proc/self/status >> here\nCMD cat /made /tmp/here\n')
    build = ('build', '--network', 'none', '--secret', f'id=s,src={context}/secret', '-t', 'buildkit', context)
    it.docker(*build, timeout=120, env=dict(os.environ, DOCKER_BUILDKIT='1', HOME=it.engine.work)).ok()
    with open(log) as file:
        calls = file.read()
    check(' run ' in f' {calls}', f'the runtime was called: {calls!r}')
    with open(context + '/Dockerfile', 'w') as file:
        file.write(f'FROM {BOX}\nRUN echo said; exit 7\n')
    failed = it.docker(*build[:-1], '--no-cache', context, timeout=120, env=dict(os.environ, DOCKER_BUILDKIT='1', HOME=it.engine.work))
    check(failed.status and 'exit code: 7' in failed.err, f'{failed.err[-300:]!r}')
    return it.run('buildkit').ok()

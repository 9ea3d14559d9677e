"""What the engine does over time."""
from harness import check, within

from . import BOX, flow


@flow('healthcheck', fast=False)
def _(it):
    name = it.up('--health-cmd', 'test -e /tmp/well', '--health-interval', 'disable')
    bad = it.podman('healthcheck', 'run', name).status
    it.podman('exec', name, 'touch', '/tmp/well').ok()
    good = it.podman('healthcheck', 'run', name).status
    check((bad, good) == (1, 0), f'{bad} {good}')


@flow('kube play', fast=False)
def _(it):
    path = f'{it.engine.work}/pod.yaml'
    with open(path, 'w') as file:
        file.write(f'''apiVersion: v1
kind: Pod
metadata:
  name: kube
spec:
  hostNetwork: true
  containers:
  - name: one
    image: {BOX}
    imagePullPolicy: Never
    command: [sh, -c, "echo from kube; sleep 1000"]
''')
    result = it.podman('kube', 'play', path)
    check(result.status == 0, f'{result.err}')
    within(10, lambda: 'from kube' in it.podman('logs', 'kube-one').out, 'it has run')
    it.podman('kube', 'down', path)


@flow('kube play: an init container, a volume, a configuration, a probe, limits', fast=False)
def _(it):
    path, probe = f'{it.engine.work}/kube-{it.runtime}.yaml', 'test -e /shared/made'
    with open(path, 'w') as file:
        file.write(f'''apiVersion: v1
kind: ConfigMap
metadata: {{name: told}}
data: {{word: from the map}}
---
apiVersion: v1
kind: Pod
metadata:
  name: full
  # Podman 4.3 does not really wait for an init container: one that is to go once it has ended it finds running still when
  # it wants to remove it, and the others run before it has ended. So it stays, and they look for what it makes.
  annotations: {{io.podman.annotations.init.container.type: always}}
spec:
  hostNetwork: true
  initContainers:
  - {{name: first, image: {BOX}, imagePullPolicy: Never, command: [sh, -c, "echo first > /shared/made"],
     volumeMounts: [{{name: shared, mountPath: /shared}}]}}
  containers:
  - name: one
    image: {BOX}
    imagePullPolicy: Never
    command: [sh, -c, "trap exit TERM; until [ -s /shared/made ]; do sleep 0.1; done; cat /shared/made; echo $WORD; id; echo up; while :; do sleep 0.2; done"]
    env: [{{name: WORD, valueFrom: {{configMapKeyRef: {{name: told, key: word}}}}}}]
    securityContext: {{runAsUser: 1000, runAsGroup: 1000, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
    livenessProbe: {{exec: {{command: [sh, -c, "{probe}"]}}}}
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  - {{name: two, image: {BOX}, imagePullPolicy: Never, command: [sh, -c, "trap exit TERM; while :; do sleep 0.2; done"]}}
  volumes: [{{name: shared, emptyDir: {{}}}}]
''')
    it.podman('kube', 'play', path).ok()
    within(20, lambda: 'up' in it.podman('logs', 'full-one').out, 'it has run')
    said = it.podman('logs', 'full-one').out
    status = it.podman('exec', 'full-one', 'grep', '-E', 'Cap|NoNewPrivs', '/proc/self/status').ok()
    check(it.inspect('full-two', '.State.Status') == 'running', 'the second runs')
    it.podman('kube', 'down', path)
    it.podman('volume', 'prune', '-f')
    return said, status


@flow('commit, cp, diff')
def _(it):
    name = it.up()
    with open(it.engine.shared + '/copied', 'w') as file:
        file.write('copied\n')
    it.podman('cp', it.engine.shared + '/copied', name + ':/etc/copied').ok()
    check('A /etc/copied' in it.podman('diff', name).ok(), 'diff names it')
    return it.podman('exec', name, 'cat', '/etc/copied').ok()

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


@flow('commit, cp, diff')
def _(it):
    name = it.up()
    with open(it.engine.shared + '/copied', 'w') as file:
        file.write('copied\n')
    it.podman('cp', it.engine.shared + '/copied', name + ':/etc/copied').ok()
    check('A /etc/copied' in it.podman('diff', name).ok(), 'diff names it')
    return it.podman('exec', name, 'cat', '/etc/copied').ok()

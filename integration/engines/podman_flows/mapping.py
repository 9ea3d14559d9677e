"""User namespaces, and whose the files are."""
import os

from harness import Skip, check

from . import flow


@flow('--uidmap')
def _(it):
    seen = it.box('sh', '-c', 'cat /proc/self/uid_map; id -u; stat -c %u /etc/passwd',
                  options=('--uidmap', '0:100000:65536' if it.engine.groups else '0:1:60000',
                           '--gidmap', '0:100000:65536' if it.engine.groups else '0:1:60000'))
    return seen.split()


@flow('--userns=auto')
def _(it):
    if not it.engine.groups:
        raise Skip('a user has no ranges to hand out')
    maps = [it.box('cat', '/proc/self/uid_map', options=('--userns', f'auto:size={size}')).split() for size in (1024, 2048)]
    check([each[2] for each in maps] == ['1024', '2048'], f'{maps}')
    names = [it.up('--userns=auto') for _ in range(2)]
    firsts = {it.podman('exec', name, 'cat', '/proc/self/uid_map').ok().split()[1] for name in names}
    check(len(firsts) == 2 and all(int(first) >= 500000 for first in firsts), f'each its own: {firsts}')


@flow('--userns=keep-id')
def _(it):
    if it.engine.groups:
        raise Skip('for users who are not root')
    seen = it.box('sh', '-c', 'id -u; touch /tmp/x; stat -c %u /tmp/x', options=('--userns', 'keep-id'))
    check(seen.split()[0] == '4321', seen)
    return seen


@flow('--userns=container:, --userns=nomap, host')
def _(it):
    name = it.up('--uidmap', '0:1000:5000', '--gidmap', '0:1000:5000')
    mine, other = (it.podman('exec', name, 'readlink', '/proc/self/ns/user').ok(),
                   it.box('readlink', '/proc/self/ns/user', options=('--userns', f'container:{name}')))
    check(mine == other, f'{mine} {other}')
    return it.box('cat', '/proc/self/uid_map', options=('--userns', 'host'))


@flow('a volume with mapped ids')
def _(it):
    if not it.engine.groups:
        raise Skip('mapped mounts take root')
    path = f'{it.engine.shared}/mapped-{it.runtime}'
    os.makedirs(path, exist_ok=True)
    os.chown(path, 0, 0)
    maps = ('--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536')
    seen = it.box('sh', '-c', 'stat -c %u /v; touch /v/made && stat -c %u /v/made', options=(*maps, '-v', f'{path}:/v:idmap'))
    check(seen.split() == ['0', '0'], f'{seen!r}')
    check(os.stat(path + '/made').st_uid == 0, 'root\'s own on the host')


@flow('a volume that is given to the container\'s user')
def _(it):
    path = f'{it.engine.shared}/given-{it.runtime}'
    os.makedirs(path, exist_ok=True)
    if not it.engine.groups:
        os.chown(path, 4321, 4321)
    seen = it.box('stat', '-c', '%u', '/v', options=('--user', '1000', '-v', f'{path}:/v:U'))
    check(seen == '1000', seen)
    return os.stat(path).st_uid


@flow('users of the image in a user namespace')
def _(it):
    return [it.box('sh', '-c', 'id; touch /tmp/x; stat -c "%u %g" /tmp/x /etc/passwd', options=('--user', user))
            for user in ('1000', 'tester', '1000:29', '4321:8765')]

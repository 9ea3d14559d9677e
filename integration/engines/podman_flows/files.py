"""File systems."""
import os
import re

import inside
from harness import check

from . import BOX, flow


@flow('--read-only, --tmpfs')
def _(it):
    result = it.run('--read-only', '--read-only-tmpfs=false', BOX, 'touch', '/mark')
    check('Read-only file system' in result.err, f'{result.err!r}')
    return it.box('sh', '-c', 'grep " /scratch " /proc/mounts | cut -d" " -f2-; echo x > /scratch/f && cat /scratch/f',
                  options=('--read-only', '--tmpfs', '/scratch:rw,size=1m,mode=1770,noexec'))


@flow('-v, and its options')
def _(it):
    with open(it.engine.shared + '/from-host', 'w') as file:
        file.write('host\n')
    volume = it.engine.shared + ':/data'
    check(it.box('cat', '/data/from-host', options=('-v', volume)) == 'host', 'read')
    refused = it.run('-v', volume + ':ro', BOX, 'touch', '/data/no')
    check('Read-only file system' in refused.err, f'read-only is kept: {refused.err!r}')
    words = []
    for mode in ('rprivate', 'rslave', 'rshared', 'noexec', 'nosuid,nodev'):
        line = it.box('grep', ' /data ', '/proc/self/mountinfo', options=('-v', f'{volume}:{mode}'))
        words.append(re.sub(r':\d+', '', ' '.join(line.split(' - ')[0].split()[5:])))
    return words


@flow('mounts of the default container')
def _(it):
    return inside.mounts(it.box('cat', '/proc/self/mountinfo'))


@flow('masked and read-only paths')
def _(it):
    return it.box('sh', '-c', inside.MASKED)


@flow('--systemd=always', fast=False)
def _(it):
    lines = it.box('sh', '-c', 'cat /proc/self/mountinfo; echo $container', options=('--systemd', 'always')).splitlines()
    return inside.mounts('\n'.join(lines[:-1])), lines[-1]


@flow('-v :O, --mount type=image, --secret')
def _(it):
    secret = f'secret-{it.runtime}'
    with open(it.engine.shared + '/lower', 'w') as file:
        file.write('below\n')
    it.podman('secret', 'create', secret, it.engine.shared + '/lower').ok()
    over = it.box('sh', '-c', 'echo above > /o/lower; echo made > /o/made; cat /o/lower /o/made',
                  options=('-v', it.engine.shared + ':/o:O'))
    check(not os.path.exists(it.engine.shared + '/made'), 'the lower directory is left alone')
    # Its options are longer than fsconfig(2) takes.
    image = it.box('sh', '-c', 'cat /img/etc/plain', options=('--mount', f'type=image,source={BOX},destination=/img'))
    hidden = it.box('sh', '-c', f'cat /run/secrets/{secret}; stat -c %a /run/secrets/{secret}', options=('--secret', secret))
    it.podman('secret', 'rm', secret)
    return over, image, hidden

"""File systems."""
import re

import inside
from harness import check

from . import BOX, flow


@flow('--read-only')
def _(it):
    result = it.run('--read-only', BOX, 'sh', '-c', 'touch /mark; touch /tmp/mark')
    check(result.status != 0 and result.err.count('Read-only file system') == 2, f'{result.err!r}')
    return result.err


@flow('--tmpfs')
def _(it):
    return it.box('sh', '-c', 'grep " /scratch " /proc/mounts | cut -d" " -f2-; echo x > /scratch/f && cat /scratch/f',
                  options=['--read-only', '--tmpfs', '/scratch:rw,size=1m,mode=1770,noexec'])


@flow('-v')
def _(it):
    with open(it.engine.shared + '/from-host', 'w') as file:
        file.write('host\n')
    volume = it.engine.shared + ':/data'
    check(it.box('sh', '-c', 'cat /data/from-host; echo inside > /data/from-inside', options=['-v', volume]) == 'host', 'read')
    with open(it.engine.shared + '/from-inside') as file:
        check(file.read() == 'inside\n', 'written')
    refused = it.run('-v', volume + ':ro', BOX, 'touch', '/data/no')
    check('Read-only file system' in refused.err, f'read-only is kept: {refused.err!r}')
    return refused.status


@flow('-v of one file')
def _(it):
    with open(it.engine.shared + '/one', 'w') as file:
        file.write('one\n')
    return it.box('cat', '/etc/single', options=['-v', it.engine.shared + '/one:/etc/single:ro'])


@flow('named volume keeps its contents')
def _(it):
    volume = f'volume-{it.runtime}'
    try:
        it.box('sh', '-c', 'echo kept > /data/f', options=['-v', volume + ':/data'])
        return it.box('cat', '/data/f', options=['-v', volume + ':/data'])
    finally:
        it.docker('volume', 'rm', volume)


@flow('volume propagation')
def _(it):
    words = []
    for mode in ('rprivate', 'rslave', 'rshared'):
        line = it.box('grep', ' /data ', '/proc/self/mountinfo', options=['-v', f'{it.engine.shared}:/data:{mode}'])
        words.append(re.sub(r':\d+', '', ' '.join(line.split(' - ')[0].split()[5:])))
    return words


@flow('--shm-size')
def _(it):
    return it.box('sh', '-c', 'df -k /dev/shm | tail -1', options=['--shm-size', '3m'])


@flow('mounts of the default container')
def _(it):
    return inside.mounts(it.box('cat', '/proc/self/mountinfo'))


@flow('masked and read-only paths')
def _(it):
    return it.box('sh', '-c', inside.MASKED)


@flow('--security-opt systempaths=unconfined')
def _(it):
    return it.box('sh', '-c', 'ls /proc/keys | wc -l; wc -c < /proc/keys > /tmp/n; test $(cat /tmp/n) -gt 0 && echo readable',
                  options=['--security-opt', 'systempaths=unconfined'])


@flow('cp, diff, commit, export')
def _(it):
    name = it.up()
    with open(it.engine.shared + '/copied', 'w') as file:
        file.write('copied\n')
    it.docker('cp', it.engine.shared + '/copied', name + ':/etc/copied').ok()
    seen = it.docker('exec', name, 'cat', '/etc/copied').ok()
    check('A /etc/copied' in it.docker('diff', name).ok(), 'diff names it')
    image_name = f'committed-{it.runtime}'
    it.docker('commit', name, image_name).ok()
    again = it.run(image_name, 'cat', '/etc/copied').ok()
    it.docker('rmi', image_name)
    return seen, again


@flow('--mount: bind, volume, tmpfs')
def _(it):
    it.engine.shared_file('bound', 'from the host\n')
    name = it.up('--mount', f'type=bind,source={it.engine.shared},target=/bound,readonly', '--mount', 'type=volume,target=/kept',
                 '--mount', 'type=tmpfs,target=/fast,tmpfs-size=65536')
    it.docker('exec', name, 'sh', '-c', 'echo kept > /kept/file').ok()
    seen = it.docker('exec', name, 'sh', '-c', 'cat /bound/bound; touch /bound/x 2>&1; grep -o " /fast tmpfs.*size=64k" /proc/mounts').ok()
    return seen

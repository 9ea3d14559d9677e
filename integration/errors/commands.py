"""Failures of commands and of their options."""
from cases import Section
from configuration import UP


def sleeps(bundle):
    bundle.args('sleep', '1000')


line = Section('The command line')
line('a misspelt command', '', command=['strat', '{id}'])
line('a misspelt option', '', command=['run', '--detatch', '{id}'])
line('an option without its value', '', command=['run', '--bundle'])
line('no id', '', command=['run'])
line('two ids', '', command=['run', '{id}', 'b'])
line('a format that is not known', '', command=['list', '--format', 'yaml'])
line('a log format that is not known', '', command=['--log-format', 'xml', 'run', '{id}'])
line('a log in no directory', '', command=['--log', '/nosuch/log', 'run', '{id}'])
line('a state directory that cannot be made', '', command=['--root', '/proc/nosuch', 'run', '{id}'])
line('a cgroup manager that is not known', '', command=['--cgroup-manager', 'none', 'run', '{id}'])
line('a pid file in no directory', '', command=['run', '--pid-file', '/nosuch/pid', '{id}'])
line('descriptors that are not open', '', command=['run', '--preserve-fds', '9', '{id}'])
line('spec over a config.json', '', command=['spec'])

life = Section('The life of a container')
life('start one that does not exist', '', command=['start', '{id}'])
life('start one that has ended', '', before=[['run', '-d', '{id}']], command=['start', '{id}'])
life('pause one that has ended', '', before=UP, command=['pause', '{id}'], here=True)
life('resume one that is not paused', '', sleeps, before=UP, command=['resume', '{id}'], here=True)
life('kill one that has ended', '', before=UP, command=['kill', '{id}', 'KILL'])
life('exec in one that has ended', '', before=UP, command=['exec', '{id}', 'true'])
life('exec without a command', '', sleeps, before=UP, command=['exec', '{id}'])
life('exec as a user by name', '', sleeps, before=UP, command=['exec', '--user', 'www-data', '{id}', 'true'])
life('exec in a directory that is not there', '', sleeps, before=UP, command=['exec', '--cwd', '/nosuch', '{id}', 'true'])
life('exec of a process file that is not there', '', sleeps, before=UP, command=['exec', '-p', '/nosuch.json', '{id}'])
life('exec of a process file that is no JSON', '', sleeps, before=UP, command=['exec', '-p', '/bin/true', '{id}'])
life('exec with an unknown capability', '', sleeps, before=UP, command=['exec', '--cap', 'CAP_NOPE', '{id}', 'true'])
life('exec in a group that is not there', '', sleeps, before=UP, command=['exec', '--cgroup', 'nosuch', '{id}', 'true'], here=True)
life('one process too many', '', lambda b: (sleeps(b), b.resources(pids={'limit': 1})), before=UP, command=['exec', '{id}', 'true'], here=True)
life('update with a size that is none', '', sleeps, before=UP, command=['update', '--memory', '1x', '{id}'], here=True)
life('update of CPUs that are not there', '', sleeps, before=UP, command=['update', '--cpuset-cpus', '77', '{id}'], here=True)
life('update of a file that is not there', '', sleeps, before=UP, command=['update', '-r', '/nosuch.json', '{id}'], here=True)
life('events without time between', '', sleeps, before=UP, command=['events', '--interval', '0s', '{id}'], here=True)
life('checkpoint without CRIU', '', sleeps, before=UP, command=['checkpoint', '{id}'], here=True)
life('restore of what was not saved', '', command=['restore', '--image-path', '/nosuch', '{id}'], here=True)

rootless = Section('More without root')
ONE = {'containerID': 0, 'hostID': 65534, 'size': 1}
ME = {'XDG_RUNTIME_DIR': '{work}'}
rootless('a sysfs with the network of the host', '', lambda b: (b.user_namespace(ONE), b.without_namespace('network'), b.mount(
    destination='/sys', type='sysfs', source='sysfs')), user=True, env=ME)
rootless('a proc with the processes of the host', '', lambda b: (b.user_namespace(ONE), b.without_namespace('pid')), user=True, env=ME)
rootless('a disk', '', lambda b: (b.user_namespace(ONE), b.mount(destination='/data', type='ext4', source='/dev/vda')), user=True, env=ME)
rootless('a limit without a group', '', lambda b: (b.user_namespace(ONE), b.resources(memory={'limit': 1 << 26})), user=True, env=ME, here=True)
rootless('a root file system that the user may not read', '', lambda b: (b.user_namespace(ONE), b.config['root'].update(path='/root')), user=True, env=ME)
rootless('a device', '', lambda b: (b.user_namespace(ONE), b.config['linux'].update(
    devices=[{'path': '/dev/x', 'type': 'c', 'major': 10, 'minor': 200}])), user=True, env=ME)

"""Failures of commands and of their options."""
import shutil

from cases import Section
from configuration import UP, V1


def sleeps(bundle):
    bundle.args('sleep', '1000')


line = Section('The command line')
line('a misspelt command', 'did you mean "start"?', command=['strat', '{id}'])
line('a misspelt option', 'did you mean --detach?', command=['run', '--detatch', '{id}'])
line('a command of an engine', '`tare kill ID` asks a container to end', command=['stop', '{id}'])
line('an option of an engine', 'config.json of the bundle has them', command=['run', '-it', '{id}'])
line('an option without its value', 'flag needs an argument: -bundle', command=['run', '--bundle'])
line('no id', 'usage: tare run [options] <container-id>', command=['run'])
line('two ids', 'usage: tare run [options] <container-id>', command=['run', '{id}', 'b'])
line('a format that is not known', 'the formats are table and json', command=['list', '--format', 'yaml'])
line('a log format that is not known', 'the formats of the log are text and json', command=['--log-format', 'xml', 'run', '{id}'])
line('a log in no directory', 'open log file /nosuch/log: no such file or directory', command=['--log', '/nosuch/log', 'run', '{id}'])
line('a state directory that cannot be made', 'nobody makes directories in /proc', command=['--root', '/proc/nosuch', 'run', '{id}'])
line('a cgroup manager that is not known', 'invalid cgroup-manager: none: not cgroupfs, systemd or disabled', command=['--cgroup-manager', 'none', 'run', '{id}'])
line('a pid file in no directory', 'write pid file /nosuch/pid: no such file or directory', command=['run', '--pid-file', '/nosuch/pid', '{id}'])
line('descriptors that are not open', 'unable to stat preserved-fd 0 (of 9): descriptor 3 is not open', command=['run', '--preserve-fds', '9', '{id}'])
line('spec over a config.json', 'File config.json exists. Remove it first', command=['spec'])

# Attached, so that it has ended when the next command comes.
ENDED = [['run', '--keep', '{id}']]
life = Section('The life of a container')
life('start one that does not exist', 'container does not exist: "web" is not in /state', command=['start', '{id}'])
life('start one that has ended', 'cannot start a container that has stopped', before=ENDED, command=['start', '{id}'])
life('pause one that has ended', 'container not running or created: stopped', before=ENDED, command=['pause', '{id}'], here=True)
life('resume one that is not paused', 'container not paused', sleeps, before=UP, command=['resume', '{id}'], here=True)
life('kill one that has ended', 'container not running', before=ENDED, command=['kill', '{id}', 'KILL'])
life('exec in one that has ended', 'exec failed: cannot exec in a stopped container', before=ENDED, command=['exec', '{id}', 'true'])
life('exec without a command', 'the command follows the id: `tare exec [options] ID COMMAND [arguments', sleeps, before=UP, command=['exec', '{id}'])
life('exec as a user by name', 'parsing www-data as int for uid failed: numbers, UID or UID:GID', sleeps, before=UP, command=['exec', '--user', 'www-data', '{id}', 'true'])
life('exec in a directory that is not there', '--cwd names it', sleeps, before=UP, command=['exec', '--cwd', '/nosuch', '{id}', 'true'])
life('exec of a process file that is not there', 'exec failed: read /nosuch.json: no such file or directory', sleeps, before=UP, command=['exec', '-p', '/nosuch.json', '{id}'])
life('exec of a process file that is no JSON', 'exec failed: /bin/true: line 1, column 1: not JSON: expected value', sleeps, before=UP, command=['exec', '-p', '/bin/true', '{id}'])
life('exec with an unknown capability', 'exec failed: unknown capability "CAP_NOPE"', sleeps, before=UP, command=['exec', '--cap', 'CAP_NOPE', '{id}', 'true'])
life('exec in a group that is not there', 'no such file or directory', sleeps, before=UP, command=['exec', '--cgroup', 'nosuch', '{id}', 'true'], here=True, host=V1)
life('one process too many', 'the container has as many processes as it may (/linux/resources/pids/l', lambda b: (sleeps(b), b.resources(pids={'limit': 1})), before=UP, command=['exec', '{id}', 'true'], here=True)
life('update with a size that is none', "invalid size: '1x': not bytes, nor a number with k, m, g, t or p", sleeps, before=UP, command=['update', '--memory', '1x', '{id}'], here=True)
life('update of CPUs that are not there', 'numerical result out of range: this host has 0-1', sleeps, before=UP, command=['update', '--cpuset-cpus', '77', '{id}'], here=True, host=V1)
life('update of a file that is not there', 'read /nosuch.json: no such file or directory', sleeps, before=UP, command=['update', '-r', '/nosuch.json', '{id}'], here=True)
life('events without time between', 'duration interval must be greater than 0', sleeps, before=UP, command=['events', '--interval', '0s', '{id}'], here=True)
life('checkpoint without CRIU', 'checkpoint and restore are done by CRIU; install it where PATH leads t', sleeps, before=UP, command=['checkpoint', '{id}'], here=True, host=lambda: not shutil.which('criu'))
life('restore of what was not saved', 'checkpoint and restore are done by CRIU; install it where PATH leads t', command=['restore', '--image-path', '/nosuch', '{id}'], here=True, host=lambda: not shutil.which('criu'))

rootless = Section('More without root')
ONE = {'containerID': 0, 'hostID': 65534, 'size': 1}
ME = {'XDG_RUNTIME_DIR': '{work}'}
rootless('a sysfs with the network of the host', 'without root, sysfs takes a network namespace that the container makes', lambda b: (b.user_namespace(ONE), b.without_namespace('network'), b.mount(
    destination='/sys', type='sysfs', source='sysfs')), user=True, env=ME)
rootless('a proc with the processes of the host', 'without root, proc takes a pid namespace that the container makes itse', lambda b: (b.user_namespace(ONE), b.without_namespace('pid')), user=True, env=ME)
rootless('a disk', "in a user namespace the kernel mounts no ext4; the host's root has to ", lambda b: (b.user_namespace(ONE), b.mount(destination='/data', type='ext4', source='/dev/vda')), user=True, env=ME)
rootless('a limit without a group', 'without root, limits take a control group that was delegated to the us', lambda b: (b.user_namespace(ONE), b.resources(memory={'limit': 1 << 26})), user=True, env=ME, here=True, host=V1)
rootless('a root file system that the user may not read', 'the caller must be able to enter each directory down to the root file ', lambda b: (b.user_namespace(ONE), b.config['root'].update(path='/root')), user=True, env=ME)
rootless('a device', "in a user namespace no device can be made: the host's node of the same", lambda b: (b.user_namespace(ONE), b.config['linux'].update(
    devices=[{'path': '/dev/x', 'type': 'c', 'major': 10, 'minor': 200}])), user=True, env=ME)

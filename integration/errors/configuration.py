"""Failures of the members of config.json."""
import os

from cases import Section

V1 = lambda: os.path.isdir('/sys/fs/cgroup/memory')
UP = [['run', '-d', '{id}']]


def put(*path, **members):
    """Changes members of the object at `path`; where it is missing it is made."""
    def change(bundle):
        value = bundle.config
        for name in path:
            value = value.setdefault(name, {}) if isinstance(value, dict) else value[name]
        value.update(members)
    return change


def mount(**members):
    return lambda bundle: bundle.mount(**members)


def all_of(*changes):
    return lambda bundle: [change(bundle) for change in changes]


def seccomp(**members):
    return put('linux', seccomp={'defaultAction': 'SCMP_ACT_ALLOW', **members})


document = Section('The document')
document('no root', 'root must be specified', lambda b: b.config.pop('root'))
document('no process', 'process property must not be empty', lambda b: b.config.pop('process'))
document('a member misspelt', 'no such member (did you mean "process"?)', lambda b: b.config.update(proces=b.config.pop('process')))
document('no arguments', 'args must not be empty', put('process', args=[]))
document('arguments as one text', 'invalid type: string "sh -c true", expected a sequence (a list: [ ])', put('process', args='sh -c true'))
document('a number as a text', 'string "512m", expected i64 (a whole number, without quotes)', put('linux', 'resources', 'memory', limit='512m'))
document('an object instead of a list', 'invalid type: map, expected a sequence (a list: [ ])', put(mounts={}))
document('an empty file', 'the file is empty', lambda b: b.text(''))
document('a list of configurations', 'the document is not a JSON object', lambda b: b.text('[]'))
document('a comment', 'not JSON: key must be a string (JSON has no comments)', lambda b: b.text('{\n  // the process\n  "process": {}\n}\n'))
document('four faults in one file', 'unable to set hostname without a private UTS namespace', all_of(put('process', cwd='tmp', args=[]), put(hostname='x'),
         lambda b: b.without_namespace('uts'), put('process', rlimits=[{'type': 'RLIMIT_FILES', 'soft': 1, 'hard': 1}])))

process = Section('The process')
process('a working directory that is relative', 'Cwd must be an absolute path', put('process', cwd='tmp'))
process('no working directory', 'Cwd property must not be empty', lambda b: b.config['process'].pop('cwd'))
process('a variable without a value', "invalid environment variable: missing '='", put('process', env=['PATH']))
process('a NUL in an argument', 'contains a NUL character', put('process', args=['a\0b']))
process('a capability without CAP_', '"NET_ADMIN" (did you mean CAP_NET_ADMIN?) at bounding/0', put('process', 'capabilities', bounding=['NET_ADMIN']))
process('one more rlimit of the same type', 'RLIMIT_NOFILE is given twice', put('process', rlimits=2 * [{'type': 'RLIMIT_NOFILE', 'soft': 9, 'hard': 9}]))
process('an OOM score out of range', 'must lie between -1000 and 1000', put('process', oomScoreAdj=5000))
process('a scheduling policy that is not known', 'not one of SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, ', put('process', scheduler={'policy': 'SCHED_FASTEST'}))
process('a priority that the policy does not have', 'must lie between 1 and 99, not 100', put('process', scheduler={'policy': 'SCHED_FIFO', 'priority': 100}))
process('an I/O class that is not known', 'not one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE', put('process', ioPriority={'class': 'IOPRIO_CLASS_FAST', 'priority': 1}))
process('a SELinux label without SELinux', 'selinux label is specified in config, but selinux is disabled or not s', put('process', selinuxLabel='system_u:system_r:container_t:s0'), host=lambda: not os.path.exists('/sys/fs/selinux/enforce'))

mounts = Section('More of mounts')
mounts('a destination that is relative', 'relative destination path is deprecated, using it as relative to /', mount(destination='data', type='tmpfs', source='tmpfs'))
mounts('no destination', 'must not be empty', mount(type='tmpfs', source='tmpfs'))
mounts('no type and no bind', 'neither a filesystem type nor the option "bind" or "rbind"', mount(destination='/data', source='/tmp'))
mounts('an option misspelt', 'nosuidd is no option of a mount, nor one of tmpfs (did you mean "nosui', mount(destination='/data', type='tmpfs', source='tmpfs', options=['nosuidd']))
mounts('an option with a wrong value', "fsconfig (tmpfs: Bad value for 'mode'): invalid argument", mount(destination='/data', type='tmpfs', source='tmpfs', options=['mode=999']))
mounts('a disk that is not there', "Can't lookup blockdev): no such file or directory", mount(destination='/data', type='ext4', source='/dev/nosuch'))
mounts('a directory that is no disk', '/tmp is no disk; a directory or a file is shown by the option "bind"', mount(destination='/data', type='ext4', source='/tmp'))
mounts('an overlay without its layers', '/nosuch does not', mount(destination='/data', type='overlay', source='overlay', options=['lowerdir=/nosuch']))
mounts('an option in the words of another program', 'did you mean "ro"?', mount(destination='/data', type='tmpfs', source='tmpfs', options=['readonly']))
mounts('a bind without its option', 'it takes the option "bind" or "rbind"', mount(destination='/data', type='none', source='/etc'))
mounts('an overlay without lowerdir', 'overlay needs lowerdir=, or upperdir= and workdir= on one filesystem t', mount(destination='/data', type='overlay', source='overlay'))
mounts('a mount inside of /proc', 'the target is inside /proc, where only a few files may be covered', mount(destination='/proc/data', type='tmpfs', source='tmpfs'))
mounts('a file on the way to the destination', 'open the target: not a directory', mount(destination='/etc/passwd/x', type='tmpfs', source='tmpfs'))
mounts('a directory over a file', 'a directory is mounted over a directory, and a file over a file', mount(destination='/etc/passwd', source='/tmp', options=['bind']))
mounts('a mount with mapped ids and no map', 'id-mapped mounts must have both uid and gid mappings specified', mount(destination='/data', source='/tmp', options=['bind', 'idmap']))
mounts('a root that is in no directory', 'must not be empty', put('root', path=''))
mounts('a propagation that is not known', 'rootfsPropagation=sharedd is not supported (did you mean "shared"?)', put('linux', rootfsPropagation='sharedd'))
mounts('a masked path that is relative', '"proc/kcore" is not an absolute path', put('linux', maskedPaths=['proc/kcore']))

host = Section('Devices, names and namespaces')
host('a device of an unknown type', 'invalid device type "x": not one of a, b, c, u, p', put('linux', devices=[{'path': '/dev/x', 'type': 'x', 'major': 1, 'minor': 3}]))
host('a device with a relative path', 'must be an absolute path', put('linux', devices=[{'path': 'x', 'type': 'c', 'major': 1, 'minor': 3}]))
host('a device over a directory', 'something else has that path in the root file system', put('linux', devices=[{'path': '/etc', 'type': 'c', 'major': 1, 'minor': 3}]))
host('a host name that is too long', 'longer than 64 bytes', put(hostname='x' * 65))
host('an unknown namespace', 'not one of mount, cgroup, uts, ipc, user, pid, network, time', lambda b: b.config['linux']['namespaces'].append({'type': 'net'}))
host('a namespace twice', 'malformed spec file: duplicated ns "pid"', lambda b: b.config['linux']['namespaces'].append({'type': 'pid'}))
host('a namespace that is a file', '/linux/namespaces/4/path: /etc/passwd is not a namespace', lambda b: b.namespace('network', '/etc/passwd'))
host('maps without a user namespace', "user namespace mappings specified, but user namespace isn't enabled in", put('linux', uidMappings=[{'containerID': 0, 'hostID': 1, 'size': 1}]))
host('a user namespace without maps', 'user namespaces enabled, but no namespace path to join nor mappings to', lambda b: b.namespace('user'))
host('maps that overlap', 'overlaps with mapping 0', lambda b: b.user_namespace(
    {'containerID': 0, 'hostID': 0, 'size': 10}, {'containerID': 5, 'hostID': 100, 'size': 10}))
host('time offsets without their namespace', "time namespace offsets specified, but time namespace isn't enabled in ", put('linux', timeOffsets={'monotonic': {'secs': 5}}))
host('a sysctl that the kernel does not have', "this kernel has no file /proc/sys/net/ipv4/nosuch in the container's n", put('linux', sysctl={'net.ipv4.nosuch': '1'}))
host('a value that a sysctl does not take', 'the kernel does not take the value "yes"', put('linux', sysctl={'net.ipv4.ip_forward': 'yes'}))
host('a network device that is not there', '/linux/netDevices/eth9: find the network device: no such device', put('linux', netDevices={'eth9': {}}))

limits = Section('Control groups')
limits('a path with ..', '"/../x": leaves the place where control groups of containers are', put('linux', cgroupsPath='/../x'), here=True)
limits('--systemd-cgroup without systemd', 'this host does not run systemd', here=True, command=['--systemd-cgroup', 'run', '{id}'], host=lambda: not os.path.exists('/run/systemd/system'))
limits('--systemd-cgroup with a plain path', 'expected cgroupsPath to be of format "slice:prefix:name" for systemd c', put('linux', cgroupsPath='/web'), here=True, command=['--systemd-cgroup', 'run', '{id}'])
limits('a period out of range', 'must lie between 1000 and 1000000 microseconds', put('linux', 'resources', cpu={'period': 10, 'quota': 1000}), here=True)
limits('a list of CPUs that is none', 'half a range: "0-"', put('linux', 'resources', cpu={'cpus': '0-'}), here=True)
limits('pages of a size that the host does not have', 'this host has no hugetlb controller in cgroup v1', put('linux', 'resources', hugepageLimits=[{'pageSize': '3MB', 'limit': 1}]), here=True, host=V1)
limits('a device rule with a letter too many', '"rwx" has letters other than r, w and m: ignored', put('linux', 'resources', devices=[{'allow': True, 'access': 'rwx'}]), here=True)
limits('a file of version 2 on version 1', 'invalid configuration: cannot use unified on cgroup v1', put('linux', 'resources', unified={'memory.high': '1'}), here=True, host=V1)
limits('a disk to throttle that is not there', 'no such device: this host has no disk 250:77', put('linux', 'resources', blockIO={
    'throttleReadBpsDevice': [{'major': 250, 'minor': 77, 'rate': 1}]}), here=True, host=V1)
limits('swap below memory', 'memory+swap limit should be >= memory limit', put('linux', 'resources', memory={'limit': 8 << 20, 'swap': 4 << 20}), here=True)
limits('cache allocation on a host without', 'intelRdt is specified in config, but Intel RDT is not enabled', put('linux', intelRdt={'closID': 'x', 'l3CacheSchema': 'L3:0=f'}), here=True, host=lambda: not os.path.exists('/sys/fs/resctrl/info'))

filters = Section('seccomp')
filters('an argument that no call has', 'a system call has 6 arguments, counted from 0: 6', seccomp(syscalls=[{'names': ['read'], 'action': 'SCMP_ACT_ERRNO', 'args': [
    {'index': 6, 'value': 1, 'op': 'SCMP_CMP_EQ'}]}]))
filters('an unknown architecture', 'not one of SCMP_ARCH_NATIVE, SCMP_ARCH_X86, SCMP_ARCH_X86_64, SCMP_ARC', seccomp(architectures=['SCMP_ARCH_X64']))
filters('an unknown operator', 'not one of SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CM', seccomp(syscalls=[{'names': ['read'], 'action': 'SCMP_ACT_ERRNO', 'args': [
    {'index': 0, 'value': 1, 'op': 'SCMP_CMP_IS'}]}]))
filters('a rule without names', 'a rule needs the name of a system call', seccomp(syscalls=[{'names': [], 'action': 'SCMP_ACT_ERRNO'}]))
filters('notification without a listener', 'missing, but a rule has SCMP_ACT_NOTIFY and needs a listener', seccomp(syscalls=[{'names': ['mkdir'], 'action': 'SCMP_ACT_NOTIFY'}]))
filters('a listener that is not there', 'failed to connect with seccomp agent: no such file or directory', seccomp(listenerPath='/run/nosuch', syscalls=[{'names': ['mkdir'], 'action': 'SCMP_ACT_NOTIFY'}]))
filters('an unknown flag', 'not one of SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_TSYNC, SECCOMP', seccomp(flags=['SECCOMP_FILTER_FLAG_NOPE']))
filters('a profile of Docker\'s form', 'a rule needs the name of a system call', seccomp(archMap=[], syscalls=[{'name': 'read', 'action': 'SCMP_ACT_ALLOW'}]))

more = Section('More of hooks')
more('a hook with a relative path', 'must be an absolute path', put(hooks={'poststop': [{'path': 'hook'}]}))
more('a hook with a timeout of zero', 'must be greater than 0', put(hooks={'prestart': [{'path': '/bin/true', 'timeout': 0}]}))
more('a hook of the container that is not there', 'is a program of the container', put(hooks={'startContainer': [{'path': '/nosuch'}]}))

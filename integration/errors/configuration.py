"""Failures of the members of config.json."""
import os

from cases import Section

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
document('a version that is no version', '', put(ociVersion='1.x'))
document('a version of the future', '', put(ociVersion='2.0.0'))
document('no version', '', lambda b: b.config.pop('ociVersion'))
document('no root', '', lambda b: b.config.pop('root'))
document('no process', '', lambda b: b.config.pop('process'))
document('a member misspelt', '', lambda b: b.config.update(proces=b.config.pop('process')))
document('no arguments', '', put('process', args=[]))
document('arguments as one text', '', put('process', args='sh -c true'))
document('a number as a text', '', put('linux', 'resources', 'memory', limit='512m'))
document('an object instead of a list', '', put(mounts={}))
document('an empty file', '', lambda b: b.text(''))
document('a list of configurations', '', lambda b: b.text('[]'))
document('a comment', '', lambda b: b.text('{\n  // the process\n  "process": {}\n}\n'))
document('four faults in one file', '', all_of(put('process', cwd='tmp', args=[]), put(hostname='x'),
         lambda b: b.without_namespace('uts'), put('process', rlimits=[{'type': 'RLIMIT_FILES', 'soft': 1, 'hard': 1}])))

process = Section('The process')
process('a working directory that is relative', '', put('process', cwd='tmp'))
process('no working directory', '', lambda b: b.config['process'].pop('cwd'))
process('a variable without a value', '', put('process', env=['PATH']))
process('a NUL in an argument', '', put('process', args=['a\0b']))
process('a capability without CAP_', '', put('process', 'capabilities', bounding=['NET_ADMIN']))
process('one more rlimit of the same type', '', put('process', rlimits=2 * [{'type': 'RLIMIT_NOFILE', 'soft': 9, 'hard': 9}]))
process('an OOM score out of range', '', put('process', oomScoreAdj=5000))
process('a scheduling policy that is not known', '', put('process', scheduler={'policy': 'SCHED_FASTEST'}))
process('a priority that the policy does not have', '', put('process', scheduler={'policy': 'SCHED_FIFO', 'priority': 100}))
process('an I/O class that is not known', '', put('process', ioPriority={'class': 'IOPRIO_CLASS_FAST', 'priority': 1}))
process('a SELinux label without SELinux', '', put('process', selinuxLabel='system_u:system_r:container_t:s0'))
process('a umask that is none', '', put('process', 'user', umask=99999))

mounts = Section('More of mounts')
mounts('a destination that is relative', '', mount(destination='data', type='tmpfs', source='tmpfs'))
mounts('no destination', '', mount(type='tmpfs', source='tmpfs'))
mounts('no type and no bind', '', mount(destination='/data', source='/tmp'))
mounts('an option misspelt', '', mount(destination='/data', type='tmpfs', source='tmpfs', options=['nosuidd']))
mounts('an option with a wrong value', '', mount(destination='/data', type='tmpfs', source='tmpfs', options=['mode=999']))
mounts('a disk that is not there', '', mount(destination='/data', type='ext4', source='/dev/nosuch'))
mounts('a directory that is no disk', '', mount(destination='/data', type='ext4', source='/tmp'))
mounts('an overlay without its layers', '', mount(destination='/data', type='overlay', source='overlay', options=['lowerdir=/nosuch']))
mounts('an overlay without lowerdir', '', mount(destination='/data', type='overlay', source='overlay'))
mounts('a mount inside of /proc', '', mount(destination='/proc/data', type='tmpfs', source='tmpfs'))
mounts('a file on the way to the destination', '', mount(destination='/etc/passwd/x', type='tmpfs', source='tmpfs'))
mounts('a directory over a file', '', mount(destination='/etc/passwd', source='/tmp', options=['bind']))
mounts('a mount with mapped ids and no map', '', mount(destination='/data', source='/tmp', options=['bind', 'idmap']))
mounts('a root that is in no directory', '', put('root', path=''))
mounts('a propagation that is not known', '', put('linux', rootfsPropagation='sharedd'))
mounts('a masked path that is relative', '', put('linux', maskedPaths=['proc/kcore']))

host = Section('Devices, names and namespaces')
host('a device of an unknown type', '', put('linux', devices=[{'path': '/dev/x', 'type': 'x', 'major': 1, 'minor': 3}]))
host('a device without numbers', '', put('linux', devices=[{'path': '/dev/x', 'type': 'c'}]))
host('a device with a relative path', '', put('linux', devices=[{'path': 'x', 'type': 'c', 'major': 1, 'minor': 3}]))
host('a device over a directory', '', put('linux', devices=[{'path': '/etc', 'type': 'c', 'major': 1, 'minor': 3}]))
host('a host name that is too long', '', put(hostname='x' * 65))
host('an unknown namespace', '', lambda b: b.config['linux']['namespaces'].append({'type': 'net'}))
host('a namespace twice', '', lambda b: b.config['linux']['namespaces'].append({'type': 'pid'}))
host('a namespace that is a file', '', lambda b: b.namespace('network', '/etc/passwd'))
host('maps without a user namespace', '', put('linux', uidMappings=[{'containerID': 0, 'hostID': 1, 'size': 1}]))
host('a user namespace without maps', '', lambda b: b.namespace('user'))
host('maps that overlap', '', lambda b: b.user_namespace(
    {'containerID': 0, 'hostID': 0, 'size': 10}, {'containerID': 5, 'hostID': 100, 'size': 10}))
host('time offsets without their namespace', '', put('linux', timeOffsets={'monotonic': {'secs': 5}}))
host('a sysctl that the kernel does not have', '', put('linux', sysctl={'net.ipv4.nosuch': '1'}))
host('a value that a sysctl does not take', '', put('linux', sysctl={'net.ipv4.ip_forward': 'yes'}))
host('a network device that is not there', '', put('linux', netDevices={'eth9': {}}))

limits = Section('Control groups')
limits('a path with ..', '', put('linux', cgroupsPath='/../x'), here=True)
limits('a path of systemd without --systemd-cgroup', '', put('linux', cgroupsPath='system.slice:tare:web'), here=True)
limits('--systemd-cgroup without systemd', '', here=True, command=['--systemd-cgroup', 'run', '{id}'])
limits('--systemd-cgroup with a plain path', '', put('linux', cgroupsPath='/web'), here=True, command=['--systemd-cgroup', 'run', '{id}'])
limits('a period out of range', '', put('linux', 'resources', cpu={'period': 10, 'quota': 1000}), here=True)
limits('a list of CPUs that is none', '', put('linux', 'resources', cpu={'cpus': '0-'}), here=True)
limits('pages of a size that the host does not have', '', put('linux', 'resources', hugepageLimits=[{'pageSize': '3MB', 'limit': 1}]), here=True)
limits('a device rule with a letter too many', '', put('linux', 'resources', devices=[{'allow': True, 'access': 'rwx'}]), here=True)
limits('a file of version 2 on version 1', '', put('linux', 'resources', unified={'memory.high': '1'}), here=True)
limits('a disk to throttle that is not there', '', put('linux', 'resources', blockIO={
    'throttleReadBpsDevice': [{'major': 250, 'minor': 77, 'rate': 1}]}), here=True)
limits('swap below memory', '', put('linux', 'resources', memory={'limit': 8 << 20, 'swap': 4 << 20}), here=True)
limits('cache allocation on a host without', '', put('linux', intelRdt={'closID': 'x', 'l3CacheSchema': 'L3:0=f'}), here=True)

filters = Section('seccomp')
filters('an argument that no call has', '', seccomp(syscalls=[{'names': ['read'], 'action': 'SCMP_ACT_ERRNO', 'args': [
    {'index': 6, 'value': 1, 'op': 'SCMP_CMP_EQ'}]}]))
filters('an unknown architecture', '', seccomp(architectures=['SCMP_ARCH_X64']))
filters('an unknown operator', '', seccomp(syscalls=[{'names': ['read'], 'action': 'SCMP_ACT_ERRNO', 'args': [
    {'index': 0, 'value': 1, 'op': 'SCMP_CMP_IS'}]}]))
filters('a rule without names', '', seccomp(syscalls=[{'names': [], 'action': 'SCMP_ACT_ERRNO'}]))
filters('notification without a listener', '', seccomp(syscalls=[{'names': ['mkdir'], 'action': 'SCMP_ACT_NOTIFY'}]))
filters('a listener that is not there', '', seccomp(listenerPath='/run/nosuch', syscalls=[{'names': ['mkdir'], 'action': 'SCMP_ACT_NOTIFY'}]))
filters('an unknown flag', '', seccomp(flags=['SECCOMP_FILTER_FLAG_NOPE']))
filters('a profile of Docker\'s form', '', seccomp(archMap=[], syscalls=[{'name': 'read', 'action': 'SCMP_ACT_ALLOW'}]))

more = Section('More of hooks')
more('a hook with a relative path', '', put(hooks={'poststop': [{'path': 'hook'}]}))
more('a hook with a timeout of zero', '', put(hooks={'prestart': [{'path': '/bin/true', 'timeout': 0}]}))
more('a hook of the container that is not there', '', put(hooks={'startContainer': [{'path': '/nosuch'}]}))

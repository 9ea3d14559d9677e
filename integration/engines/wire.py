"""Protocol buffers, as little of them as the Container Runtime Interface and a shim take: dictionaries in, dictionaries out.

A message is a line of SCHEMA: `name=number:kind`. A kind is `string`, `bytes`, `int`, `bool`, `map` (string to
string) or another message; `*` behind it says that there may be several. Fields that are not listed are passed over.
"""

SCHEMA = '''
VersionRequest version=1:string
VersionResponse version=1:string runtime_name=2:string runtime_version=3:string runtime_api_version=4:string
StatusRequest verbose=1:bool
StatusResponse status=1:RuntimeStatus
RuntimeStatus conditions=1:RuntimeCondition*
RuntimeCondition type=1:string status=2:bool reason=3:string message=4:string

RunPodSandboxRequest config=1:PodSandboxConfig runtime_handler=2:string
RunPodSandboxResponse pod_sandbox_id=1:string
StopPodSandboxRequest pod_sandbox_id=1:string
StopPodSandboxResponse
RemovePodSandboxRequest pod_sandbox_id=1:string
RemovePodSandboxResponse
PodSandboxStatusRequest pod_sandbox_id=1:string verbose=2:bool
PodSandboxStatusResponse status=1:PodSandboxStatus info=2:map
PodSandboxStatus id=1:string metadata=2:PodSandboxMetadata state=3:int network=5:PodSandboxNetworkStatus labels=7:map runtime_handler=9:string
PodSandboxNetworkStatus ip=1:string
ListPodSandboxRequest
ListPodSandboxResponse items=1:PodSandbox*
PodSandbox id=1:string metadata=2:PodSandboxMetadata state=3:int runtime_handler=7:string
PodSandboxConfig metadata=1:PodSandboxMetadata hostname=2:string log_directory=3:string dns_config=4:DNSConfig labels=6:map annotations=7:map linux=8:LinuxPodSandboxConfig
PodSandboxMetadata name=1:string uid=2:string namespace=3:string attempt=4:int
DNSConfig servers=1:string* searches=2:string* options=3:string*
LinuxPodSandboxConfig cgroup_parent=1:string security_context=2:LinuxSandboxSecurityContext sysctls=3:map
LinuxSandboxSecurityContext namespace_options=1:NamespaceOption run_as_user=3:Value privileged=6:bool seccomp=9:SecurityProfile
NamespaceOption network=1:int pid=2:int ipc=3:int target_id=4:string userns_options=5:UserNamespace
UserNamespace mode=1:int uids=2:IDMapping* gids=3:IDMapping*
IDMapping host_id=1:int container_id=2:int length=3:int
UpdatePodSandboxResourcesRequest pod_sandbox_id=1:string overhead=2:LinuxContainerResources resources=3:LinuxContainerResources
UpdatePodSandboxResourcesResponse
SecurityProfile profile_type=1:int localhost_ref=2:string
Value value=1:int

CreateContainerRequest pod_sandbox_id=1:string config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
CreateContainerResponse container_id=1:string
ContainerConfig metadata=1:ContainerMetadata image=2:ImageSpec command=3:string* args=4:string* working_dir=5:string envs=6:KeyValue* mounts=7:Mount* devices=8:Device* labels=9:map annotations=10:map log_path=11:string stdin=12:bool stdin_once=13:bool tty=14:bool linux=15:LinuxContainerConfig
ContainerMetadata name=1:string attempt=2:int
ImageSpec image=1:string
KeyValue key=1:string value=2:string
Mount container_path=1:string host_path=2:string readonly=3:bool propagation=5:int uidMappings=6:IDMapping* gidMappings=7:IDMapping* image=9:ImageSpec image_sub_path=10:string
Device container_path=1:string host_path=2:string permissions=3:string
LinuxContainerConfig resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext
LinuxContainerResources cpu_period=1:int cpu_quota=2:int cpu_shares=3:int memory_limit_in_bytes=4:int oom_score_adj=5:int cpuset_cpus=6:string cpuset_mems=7:string unified=9:map
LinuxContainerSecurityContext capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption run_as_user=5:Value run_as_group=12:Value run_as_username=6:string readonly_rootfs=7:bool supplemental_groups=8:int* no_new_privs=11:bool masked_paths=13:string* readonly_paths=14:string* seccomp=15:SecurityProfile
Capability add_capabilities=1:string* drop_capabilities=2:string*
StartContainerRequest container_id=1:string
StartContainerResponse
StopContainerRequest container_id=1:string timeout=2:int
StopContainerResponse
RemoveContainerRequest container_id=1:string
RemoveContainerResponse
ContainerStatusRequest container_id=1:string verbose=2:bool
ContainerStatusResponse status=1:ContainerStatus info=2:map
ContainerStatus id=1:string metadata=2:ContainerMetadata state=3:int started_at=5:int finished_at=6:int exit_code=7:int reason=10:string message=11:string labels=12:map mounts=14:Mount*
ListContainersRequest filter=1:ContainerFilter
ContainerFilter id=1:string pod_sandbox_id=3:string label_selector=4:map
ListContainersResponse containers=1:Container*
Container id=1:string pod_sandbox_id=2:string state=6:int
UpdateContainerResourcesRequest container_id=1:string linux=2:LinuxContainerResources
UpdateContainerResourcesResponse
ReopenContainerLogRequest container_id=1:string
ReopenContainerLogResponse
ContainerStatsRequest container_id=1:string
ContainerStatsResponse stats=1:ContainerStats
ContainerStats cpu=2:CpuUsage memory=3:MemoryUsage
CpuUsage timestamp=1:int usage_core_nano_seconds=2:Value
MemoryUsage timestamp=1:int working_set_bytes=2:Value
ExecSyncRequest container_id=1:string cmd=2:string* timeout=3:int
ExecSyncResponse stdout=1:string stderr=2:string exit_code=3:int
ExecRequest container_id=1:string cmd=2:string* tty=3:bool stdin=4:bool stdout=5:bool stderr=6:bool
ExecResponse url=1:string
AttachRequest container_id=1:string stdin=2:bool tty=3:bool stdout=4:bool stderr=5:bool
AttachResponse url=1:string

Any type_url=1:string value=2:bytes
TtrpcRequest service=1:string method=2:string payload=3:bytes timeout_nano=4:int metadata=5:KeyValue*
TtrpcResponse status=1:TtrpcStatus payload=2:bytes
TtrpcStatus code=1:int message=2:string
ForwardRequest envelope=1:Envelope
Envelope namespace=2:string topic=3:string event=4:Any

RuncOptions no_pivot_root=1:bool io_uid=4:int binary_name=6:string root=7:string systemd_cgroup=9:bool
TaskMount type=1:string source=2:string target=3:string options=4:string*
CreateTaskRequest id=1:string bundle=2:string rootfs=3:TaskMount* terminal=4:bool stdin=5:string stdout=6:string stderr=7:string options=10:Any
CreateTaskResponse pid=1:int
TaskStartRequest id=1:string exec_id=2:string
TaskStartResponse pid=1:int
DeleteRequest id=1:string exec_id=2:string
DeleteResponse pid=1:int exit_status=2:int
TaskExecRequest id=1:string exec_id=2:string terminal=3:bool stdin=4:string stdout=5:string stderr=6:string spec=7:Any
TaskExecResponse
ResizePtyRequest id=1:string exec_id=2:string width=3:int height=4:int
ResizePtyResponse
StateRequest id=1:string exec_id=2:string
StateResponse id=1:string bundle=2:string pid=3:int status=4:int stdin=5:string stdout=6:string stderr=7:string terminal=8:bool exit_status=9:int exec_id=11:string
KillRequest id=1:string exec_id=2:string signal=3:int all=4:bool
KillResponse
CloseIORequest id=1:string exec_id=2:string stdin=3:bool
CloseIOResponse
PidsRequest id=1:string
PidsResponse processes=1:ProcessInfo*
ProcessInfo pid=1:int info=2:Any
PauseRequest id=1:string
PauseResponse
ResumeRequest id=1:string
ResumeResponse
UpdateRequest id=1:string resources=2:Any
UpdateResponse
WaitRequest id=1:string exec_id=2:string
WaitResponse exit_status=1:int
StatsRequest id=1:string
StatsResponse stats=1:Any
ConnectRequest id=1:string
ConnectResponse shim_pid=1:int task_pid=2:int version=3:string
ShutdownRequest id=1:string now=2:bool
ShutdownResponse
TaskEvent container_id=1:string second=2:string third=3:int
ExitEvent container_id=1:string id=2:string pid=3:int exit_status=4:int

RegisterPluginRequest plugin_name=1:string plugin_idx=2:string
ConfigureResponse events=2:int
StateChangeEvent event=1:int container=3:NriContainer
NriContainer id=1:string name=3:string
NriContainerRequest container=2:NriContainer
NriCreateResponse adjust=1:ContainerAdjustment
ContainerAdjustment annotations=2:map mounts=3:NriMount* env=4:KeyValue* hooks=5:NriHooks linux=6:NriLinux rlimits=7:NriRlimit*
NriMount destination=1:string type=2:string source=3:string options=4:string*
NriHooks create_runtime=2:NriHook* create_container=3:NriHook* start_container=4:NriHook* poststart=5:NriHook* poststop=6:NriHook*
NriHook path=1:string args=2:string* env=3:string*
NriLinux devices=1:NriDevice* resources=2:NriResources oom_score_adj=4:Value
NriDevice path=1:string type=2:string major=3:int minor=4:int file_mode=5:Value
NriResources memory=1:NriMemory cpu=2:NriCpu
NriMemory limit=1:Value
NriCpu shares=1:Value quota=2:Value period=3:Value cpus=6:string
NriRlimit type=1:string hard=2:int soft=3:int
'''

VARINT, BYTES = 0, 2


def parse_schema():
    messages = {}
    for line in filter(None, SCHEMA.splitlines()):
        name, *fields = line.split()
        messages[name] = {}
        for field in fields:
            key, rest = field.split('=')
            number, kind = rest.split(':')
            messages[name][key] = (int(number), kind.rstrip('*'), kind.endswith('*'))
    return messages


MESSAGES = parse_schema()


def encode(message, values):
    """The bytes of a message; fields that are not given are not sent."""
    out = b''
    for key, value in values.items():
        number, kind, several = MESSAGES[message][key]
        for one in value if several else value.items() if kind == 'map' else [value]:
            if kind in ('int', 'bool'):
                out += varint(number << 3 | VARINT) + varint(int(one))
            else:
                data = payload(kind, one)
                out += varint(number << 3 | BYTES) + varint(len(data)) + data
    return out


def payload(kind, value):
    if kind == 'string':
        return value.encode()
    if kind == 'bytes':
        return value
    if kind == 'map':
        key, text = (each.encode() for each in value)
        return b'\n' + varint(len(key)) + key + b'\x12' + varint(len(text)) + text
    return encode(kind, value)


def varint(number):
    number &= (1 << 64) - 1  # negative numbers are two's complement
    out = b''
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


EMPTY = {'string': '', 'bytes': b'', 'int': 0, 'bool': False}


def decode(message, data):
    """A dictionary with every field of the message; what was not sent has its type's zero, a message None."""
    fields = MESSAGES[message]
    values = {key: [] if several else {} if kind == 'map' else EMPTY.get(kind)
              for key, (_, kind, several) in fields.items()}
    by_number = {number: (key, kind, several) for key, (number, kind, several) in fields.items()}
    for number, value in raw(data):
        if number not in by_number:
            continue
        key, kind, several = by_number[number]
        value = typed(kind, value)
        if kind == 'map':
            values[key].update(value)
        elif several:
            values[key].append(value)
        else:
            values[key] = value
    return values


def typed(kind, value):
    if kind == 'int':
        return value - (1 << 64) if value >> 63 else value
    if kind == 'bool':
        return bool(value)
    if kind == 'string':
        return value.decode(errors='replace')
    if kind == 'bytes':
        return value
    if kind == 'map':
        entry = dict(raw(value))
        return {entry.get(1, b'').decode(): entry.get(2, b'').decode(errors='replace')}
    return decode(kind, value)


def raw(data):
    """(number, integer or bytes) of each field as it was sent."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = read_varint(data, at)
        elif wire == BYTES:
            length, at = read_varint(data, at)
            value, at = data[at:at + length], at + length
        else:  # fixed width, of 8 or 4 bytes: nothing here has it
            width = {1: 8, 5: 4}[wire]
            value, at = data[at:at + width], at + width
        yield number, value


def read_varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return number, at

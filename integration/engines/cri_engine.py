"""containerd with its CRI service, and that service with one runtime class. Debian's interpreter has Debian's grpc."""
import json
import os
import shutil

import grpc
import image
import inside
from harness import DEBIAN_PATH, Engine, Failed, Flows, Skip, call, cgroups, check, in_guest, within
from wire import decode, encode

flow = Flows()
BOX, PAUSE = 'docker.io/library/box:latest', 'docker.io/library/pause:latest'
READY, NOT_READY = 0, 1
CREATED, RUNNING, EXITED = 0, 1, 2
POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3  # whose namespace
DEFAULT, UNCONFINED, LOCALHOST = 0, 1, 2   # which profile


class Refused(Failed):
    """The service has answered with an error."""


class Cri(Engine):
    name, usual, shims = 'cri', 'runc', True
    program = 'containerd'
    sample = r'^(pod: run|two containers|removing|exec|memory|mounts|seccomp|user names|image vol|resize|NRI)'

    def start(self):
        self.socket = self.work + '/containerd.sock'
        self.shared = self.work + '/shared'
        self.settle()
        os.mkdir(self.shared)
        self.networks = self.work + '/net.d'
        os.mkdir(self.networks)
        with open(self.networks + '/10-pods.conflist', 'w') as file:
            json.dump({'cniVersion': '0.4.0', 'name': 'pods', 'plugins': [
                {'type': 'bridge', 'bridge': 'pods0', 'isGateway': True,
                 'ipam': {'type': 'host-local', 'dataDir': self.work + '/addresses',
                          'ranges': [[{'subnet': '10.99.0.0/16'}]]}}]}, file)
        self.config = self.work + '/config.toml'
        with open(self.config, 'w') as file:
            file.write(self.settings())
        self.begin()
        ctr = shutil.which('ctr', path=DEBIAN_PATH)
        for name, command in ((PAUSE, ('/bin/probe', 'pause')), (BOX, ('echo', 'from the image'))):
            call(ctr, '-a', self.socket, '-n', 'k8s.io', 'images', 'import', image.archive(self.work, name, command),
                 timeout=120).ok()

    def settle(self):
        self.group = os.path.basename(self.work)

    def containerd(self):
        return 'containerd'

    def environment(self):
        return dict(os.environ, PATH=self.shim_path()) if self.shim else None

    def settings(self):
        text = f'''version = 2
root = "{self.work}/root"
state = "{self.work}/state"
[grpc]
address = "{self.socket}"
[plugins."io.containerd.nri.v1.nri"]
disable = false
socket_path = "{self.work}/nri.sock"
plugin_path = "{self.work}/nri-plugins"
plugin_config_path = "{self.work}/nri-configurations"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
stats_collect_period = 1
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{self.networks}"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "{list(self.runtimes)[-1]}"
'''
        for name, path in self.runtimes.items():
            section = f'[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}'
            if name == 'shim':
                text += f'{section}]\nruntime_type = "io.containerd.tare.v2"\n'
                continue
            text += (f'{section}]\nruntime_type = "io.containerd.runc.v2"\n'
                     f'{section}.options]\nBinaryName = "{path}"\nRoot = "{self.work}/state-of-{name}"\n')
        return text

    def begin(self):
        self.process = self.daemon(self.containerd(), '--config', self.config, env=self.environment())
        self.channel = grpc.insecure_channel('unix:' + self.socket)

        def answers():
            check(self.process.poll() is None, f'containerd has ended with status {self.process.poll()}')
            try:
                conditions = self.call('Status')['status']['conditions']
            except Refused:
                return False
            return any(each['type'] == 'RuntimeReady' and each['status'] for each in conditions)
        within(60, answers, 'containerd answers')

    def kill(self):
        """SIGKILL, as when the machine runs out of memory."""
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def call(self, method, /, **fields):
        serve = self.channel.unary_unary(
            f'/runtime.v1.RuntimeService/{method}',
            request_serializer=lambda values: encode(method + 'Request', values),
            response_deserializer=lambda data: decode(method + 'Response', data))
        try:
            return serve(fields, timeout=60 * in_guest.SLOWER)
        except grpc.RpcError as error:
            raise Refused(f'{method}: {error.code().name}: {error.details()}') from None

    def client(self, runtime):
        return Client(self, runtime)

    def clean(self, client):
        for pod in self.call('ListPodSandbox')['items']:
            self.call('StopPodSandbox', pod_sandbox_id=pod['id'])
            self.call('RemovePodSandbox', pod_sandbox_id=pod['id'])

    def stop(self):
        try:
            self.clean(None)
        except (Failed, AttributeError):
            pass
        super().stop()
        left = self.work + '/state'
        if os.path.isdir(left):
            for line in open('/proc/self/mounts'):
                if self.work in line.split()[1]:
                    call('umount', '-l', line.split()[1])


class Client:
    """The runtime service with one runtime class."""
    count = 0

    def __init__(self, engine, runtime):
        self.engine, self.runtime, self.call = engine, runtime, engine.call

    def pod(self, network=NODE, pid=CONTAINER, ipc=POD, security=None, **more):
        """Runs a sandbox: its id and its configuration, which containers are made with."""
        Client.count += 1
        name = f'pod-{Client.count}'
        linux = dict({'cgroup_parent': f'/{self.engine.group}/{name}'}, **more.pop('linux', {}))
        linux['security_context'] = dict({'namespace_options': {'network': network, 'pid': pid, 'ipc': ipc}},
                                         **(security or {}))
        config = dict({'metadata': {'name': name, 'uid': name, 'namespace': 'test'},
                       'log_directory': self.engine.work + '/logs', 'linux': linux}, **more)
        made = self.call('RunPodSandbox', config=config, runtime_handler=self.runtime)
        return Pod(self, made['pod_sandbox_id'], config)


class Pod:
    def __init__(self, client, id, config):
        self.client, self.id, self.config, self.call = client, id, config, client.call
        self.log_directory = config['log_directory']
        self.options = config['linux']['security_context']['namespace_options']

    def status(self):
        return self.call('PodSandboxStatus', pod_sandbox_id=self.id)['status']

    def create(self, *command, security=None, resources=None, **more):
        """Creates a container with the namespaces of its pod."""
        Client.count += 1
        name = f'container-{Client.count}'
        security = dict({'namespace_options': self.options}, **(security or {}))
        config = dict({'metadata': {'name': name}, 'image': {'image': BOX}, 'command': list(command),
                       'log_path': name + '.log',
                       'linux': {'security_context': security, 'resources': resources or {}}}, **more)
        made = self.call('CreateContainer', pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        return Container(self, made['container_id'], f'{self.log_directory}/{config["log_path"]}')

    def up(self, *command, **more):
        container = self.create(*(command or inside.IDLE), **more)
        self.call('StartContainer', container_id=container.id)
        if not command:
            within(20, lambda: 'ready' in container.log()[0], 'the first process is up')
        return container

    def box(self, *command, **more):
        """What a container prints that runs this command."""
        container = self.up(*command, **more)
        code = container.ended()
        out, err = container.log()
        check(code == 0, f'{" ".join(command)}: {code}: {err or out}')
        return out.strip()

    def remove(self):
        self.call('StopPodSandbox', pod_sandbox_id=self.id)
        self.call('RemovePodSandbox', pod_sandbox_id=self.id)


def command_lines():
    """Of every process in the sandbox."""
    for number in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{number}/cmdline') as file:
                yield file.read().split('\0')
        except OSError:
            pass  # it has ended


class Container:
    def __init__(self, pod, id, log_path):
        self.pod, self.id, self.log_path = pod, id, log_path

    def call(self, method, **more):
        return self.pod.call(method, container_id=self.id, **more)

    def status(self):
        return self.call('ContainerStatus')['status']

    def state(self):
        return self.status()['state']

    def pid(self):
        """Of the first process, as the host counts."""
        return json.loads(self.call('ContainerStatus', verbose=True)['info']['info'])['pid']

    def ended(self):
        within(30, lambda: self.state() == EXITED, 'the container has ended')
        return self.status()['exit_code']

    def exec(self, *command, timeout=20):
        done = self.call('ExecSync', cmd=list(command), timeout=timeout)
        return done['exit_code'], done['stdout'], done['stderr']

    def ok(self, *command):
        code, out, err = self.exec(*command)
        check(code == 0, f'{" ".join(command)}: {code}: {err or out}')
        return out.strip()

    def log(self):
        """Standard output and standard error, from the log that kubelet would read."""
        texts = {'stdout': '', 'stderr': ''}
        if os.path.exists(self.log_path):
            with open(self.log_path) as file:
                for line in file:
                    _, name, mark, text = line.rstrip('\n').split(' ', 3)
                    texts[name] += text + ('' if mark == 'P' else '\n')
        return texts['stdout'], texts['stderr']

    def control_file(self, v1, v2):
        """What stands in a file of its cgroup."""
        pod = self.pod.config['metadata']['name']
        for directory in cgroups(f'{self.pod.client.engine.group}/{pod}/{self.id}'):
            for file in (v1, v2):
                if os.path.exists(os.path.join(directory, file)):
                    with open(os.path.join(directory, file)) as opened:
                        return opened.read().strip()
        raise Skip(f'no controller for {v2} on this machine')

"""Failures of tare-image: names, registries, archives, layers, bundles."""
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

from cases import Section

LAYER, CONFIG, MANIFEST = ('application/vnd.oci.image.' + kind for kind in (
    'layer.v1.tar+gzip', 'config.v1+json', 'manifest.v1+json'))


def layer(entries):
    """A compressed layer of files with these texts; None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name, text in entries.items():
            member = tarfile.TarInfo(name)
            if text is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


class Layout:
    """An image of one layer in the layout `image` of the working directory, and what is done to it."""

    def __init__(self, place, layers=None, config=None, tags=('latest',), platform=('linux', 'amd64'), media=LAYER):
        self.path = f'{place.directory}/image'
        os.makedirs(f'{self.path}/blobs/sha256')
        layers = [layer({'bin': None, 'bin/sh': 'x'})] if layers is None else layers
        names = lambda data: 'sha256:' + hashlib.sha256(data).hexdigest()
        described = [{'mediaType': media, **self.blob(data)} for data in layers]
        diffs = [names(unpacked(data)) for data in layers]
        document = {'os': platform[0], 'architecture': platform[1], 'rootfs': {'type': 'layers', 'diff_ids': diffs},
                    'config': {'Cmd': ['sh'], **(config or {})}}
        manifest = {'schemaVersion': 2, 'mediaType': MANIFEST, 'layers': described,
                    'config': {'mediaType': CONFIG, **self.blob(json.dumps(document).encode())}}
        self.layers = [self.file(each['digest']) for each in described]
        target = {'mediaType': MANIFEST, **self.blob(json.dumps(manifest).encode()),
                  'platform': dict(zip(('os', 'architecture'), platform))}
        self.write('index.json', {'schemaVersion': 2, 'manifests': [
            {**target, 'annotations': {'org.opencontainers.image.ref.name': tag}} for tag in tags]})
        self.write('oci-layout', {'imageLayoutVersion': '1.0.0'})

    def file(self, digest):
        return f'{self.path}/blobs/sha256/{digest[7:]}'

    def blob(self, data):
        digest = hashlib.sha256(data).hexdigest()
        with open(f'{self.path}/blobs/sha256/{digest}', 'wb') as file:
            file.write(data)
        return {'digest': f'sha256:{digest}', 'size': len(data)}

    def write(self, name, value):
        with open(f'{self.path}/{name}', 'w') as file:
            json.dump(value, file)


def unpacked(data):
    try:
        return gzip.decompress(data)
    except (OSError, EOFError):
        return data


def image(**options):
    return lambda place: Layout(place, **options)


def wrong_byte(place):
    path = Layout(place).layers[0]
    with open(path, 'r+b') as file:
        file.seek(20)
        file.write(b'\xff\xff\xff')


def write(name, text):
    def change(place):
        with open(f'{place.directory}/{name}', 'w') as file:
            file.write(text)
    return change


def both(*changes):
    return lambda place: [change(place) for change in changes]


UNPACK = ['unpack', 'oci:image:latest', 'out']


def section(name):
    make = Section(name)
    return lambda title, says, change=lambda place: None, command=UNPACK, **more: make(
        title, says, change, command=command, image=True, **more)


names = section('Images: names and places')
names('a name without a transport', 'from a registry it is docker://alpine; the forms are oci:DIR[:TAG], oc', command=['unpack', 'alpine', 'out'])
names('a transport that is not known', 'one of oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAM', command=['unpack', 'dockr://alpine', 'out'])
names('a layout that is not there', 'image is no image layout: that is a directory with oci-layout, index.j', command=UNPACK)
names('a directory that is no layout', 'image is no image layout: that is a directory with oci-layout, index.j', lambda p: os.makedirs(f'{p.directory}/image'))
names('a tag that the layout does not have', 'the tags are: latest', image(), command=['unpack', 'oci:image:v2', 'out'])
names('a platform that the image does not have', 'there are: linux/amd64', image(), command=['unpack', '--platform', 'linux/arm64', 'oci:image:latest', 'out'])
names('a platform that is none', 'platform "arm64": must be OS/ARCHITECTURE[/VARIANT]', image(), command=['unpack', '--platform', 'arm64', 'oci:image:latest', 'out'])
names('an image for another machine', 'there are: linux/arm64', image(platform=('linux', 'arm64')))
names('a directory that is not empty', 'name a directory that is not there yet, or an empty one; `tare-image r', both(image(), lambda p: os.makedirs(f'{p.directory}/out/mine')))
names('a target below a file', 'open /image/index.json: not a directory', image(), command=['unpack', 'oci:image:latest', 'image/index.json/out'])
names('an archive that is not there', 'archive nosuch.tar: open nosuch.tar: no such file or directory', command=['unpack', 'docker-archive:nosuch.tar', 'out'])
names('an archive that is none', 'archive x.tar: it is no tar archive', write('x.tar', 'hello' * 999), command=['unpack', 'docker-archive:x.tar', 'out'])
names('a digest that is none', '[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]: a repository is in low', command=['unpack', 'docker://localhost:1/x@sha256:abc', 'out'])
names('upper case in a repository', '[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]: a repository is in low', command=['unpack', 'docker://localhost:1/Alpine', 'out'])
names('a map of ids that is none', '"0:100000" must be CONTAINER:HOST:SIZE, three numbers', image(), command=['unpack', '--uid-map', '0:100000', 'oci:image:latest', 'out'])

PLAIN = '--tls-verify=false'
registry = section('Images: registries')
registry('a registry where nobody listens', 'get manifests/latest from localhost:1: connection refused', command=['unpack', '--retries', '0', 'docker://localhost:1/x', 'out'])
registry('a registry that no name server knows', 'get manifests/latest from nosuch.invalid: there is no such host', command=['unpack', '--retries', '0', 'docker://nosuch.invalid/x', 'out'])
registry('a repository that is not there', 'repository name not known to registry', command=['unpack', PLAIN, 'docker://{registry}/nosuch:v1', 'out'])
registry('credentials that are asked for', 'log in with: tare-image login registry.test', command=['unpack', PLAIN, 'docker://{registry}/private', 'out'])
registry('credentials that are wrong', 'the registry does not accept this user with this password', command=['login', PLAIN, '-u', 'me', '-p', 'wrong', '{registry}'])
registry('credentials without permission', 'log in with: tare-image login registry.test', command=['unpack', PLAIN, '--creds', 'me:x', 'docker://{registry}/forbidden', 'out'])
registry('too many requests', 'you have reached your pull rate limit', command=['unpack', PLAIN, '--retries', '0', 'docker://{registry}/busy', 'out'])
registry('a registry that is broken', 'the registry answers 500 (internal server error)', command=['unpack', PLAIN, '--retries', '0', 'docker://{registry}/broken', 'out'])
registry('a page instead of a manifest', 'is the host the registry?', command=['unpack', PLAIN, 'docker://{registry}/page', 'out'])
registry('HTTP where HTTPS is expected', 'plain HTTP is accepted with --tls-verify=false', command=['unpack', '--retries', '0', 'docker://{registry}/x', 'out'])
registry('a certificate that nobody knows', "name the registry's authority with --cert-dir, or trust any with --tls", command=['unpack', '--retries', '0', 'docker://{tls}/x', 'out'])
registry('a file of credentials that is no JSON', 'EOF while parsing an object at line 1 column 1', write('auth.json', '{'), command=[
    'unpack', PLAIN, '--authfile', 'auth.json', 'docker://{registry}/private', 'out'])
registry('a credential helper that is not installed', 'run docker-credential-nosuch: no such file or directory', write('auth.json', '{"credHelpers": {"{registry}": "nosuch"}}'), command=[
    'unpack', PLAIN, '--authfile', 'auth.json', 'docker://{registry}/private', 'out'])
registry('a proxy that is not there', 'connection refused', command=['unpack', '--retries', '0', 'docker://registry.example/x', 'out'],
         env={'HTTPS_PROXY': 'http://localhost:1'})
registry('a push without permission', 'log in with: tare-image login registry.test', image(), command=['pull', PLAIN, 'oci:image:latest', 'docker://{registry}/forbidden:v1'])

content = section('Images: content')
content('a blob with wrong bytes', 'the gzip data is damaged: corrupt deflate stream', wrong_byte)
content('a blob that is missing', 'no such file or directory', lambda p: os.remove(Layout(p).layers[0]))
content('a blob that is cut off', 'size is 30 bytes, its descriptor says 116', lambda p: os.truncate(Layout(p).layers[0], 30))
content('a layer that is no archive', 'media type says gzip, the content is neither compressed nor an archive', image(layers=[b'hello']))
content('a layer of a kind that is not known', 'no support for layers of media type "application/vnd.oci.image.layer.v', image(media='application/vnd.oci.image.layer.v1.tar+lz4'))
content('a layer that is encrypted', 'no support for layers of media type "application/vnd.oci.image.layer.v', image(media='application/vnd.oci.image.layer.v1.tar+gzip+encrypted'))
content('a user that the image does not have', 'user "www-data": the image\'s /etc/passwd has no www-data', image(config={'User': 'www-data'}))
content('an overlay of an image without layers', 'without --overlay the bundle gets an empty tree of its own', image(layers=[]), command=['unpack', '--store', 'store', '--overlay', 'oci:image:latest', 'out'])
content('more bytes than may be', 'raise the limit with --max-size', image(layers=[layer({'big': 'x' * 9999})]), command=['unpack', '--max-size', '100', 'oci:image:latest', 'out'])
content('a disk that is full', 'the file system that small is on is full', both(image(layers=[layer({str(i): os.urandom(9000).hex() for i in range(9)})]),
        lambda p: (os.makedirs(f'{p.directory}/small'), subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', f'{p.directory}/small'], check=True))),
        command=['unpack', 'oci:image:latest', 'small/out'])
content('a file system that is read-only', 'make /fixed/.out.partial: read-only file system', both(image(), lambda p: (os.makedirs(f'{p.directory}/fixed'), subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', f'{p.directory}/fixed'], check=True))), command=['unpack', 'oci:image:latest', 'fixed/out'])
content('an index that is no JSON', 'image/index.json: EOF while parsing an object at line 1 column 1', both(image(), write('image/index.json', '{')))
content('a layout of another version', 'image/oci-layout: layout version "2.0.0" is not 1.0.0', both(image(), write('image/oci-layout', '{"imageLayoutVersion": "2.0.0"}')))

bundles = section('Images: bundles and the store')
bundles('umount of what is no bundle', 'out: not a bundle made by tare-image', lambda p: os.makedirs(f'{p.directory}/out'), command=['umount', 'out'])
bundles('mount of a bundle without layers to mount', 'out: the bundle has a tree of its own, there is nothing to mount', image(), before=[UNPACK], command=['mount', 'out'])
bundles('remove of what is no bundle', 'out: not a bundle made by tare-image', lambda p: os.makedirs(f'{p.directory}/out'), command=['remove', 'out'])
bundles('repack of what is no bundle', 'out: not a bundle made by tare-image', lambda p: os.makedirs(f'{p.directory}/out'), command=['repack', 'out', 'oci:new:latest'])
bundles('repack without the image', 'nosuch is no image layout: that is a directory with oci-layout, index.', image(), before=[UNPACK], command=['repack', '--base', 'oci:nosuch:latest', 'out', 'oci:new:latest'])
bundles('repack to a place that is no name', 'from a registry it is docker://new; the forms are oci:DIR[:TAG], oci-a', image(), before=[UNPACK], command=['repack', 'out', 'new'])
bundles('rm of a name that is not there', 'the tags are: latest', image(), command=['rm', 'oci:image:v2'])
bundles('tag with a name that is none', 'letters and digits, and between them one of - . _ : @ + or /', image(), command=['tag', 'oci:image:latest', 'a b'])
bundles('logout where nobody logged in', 'no credentials in /home/containers/auth.json, /home/.config/containers', command=['logout', 'registry.example'])
bundles('a store that is not there', 'tare-image pull SOURCE makes one, as unpack --overlay does', command=['store', '--store', 'nosuch'])
bundles('a profile of seccomp that is not there', 'nosuch.json: no such file or directory', image(), command=['unpack', '--seccomp', 'nosuch.json', 'oci:image:latest', 'out'])
bundles('a volume that is none', 'volume "data": paths must be absolute', image(), command=['unpack', '--volume', 'data', 'oci:image:latest', 'out'])
bundles('a document to merge that is no JSON', 'more.json: EOF while parsing an object at line 1 column 1', both(image(), write('more.json', '{')), command=[
    'unpack', '--merge', 'more.json', 'oci:image:latest', 'out'])
bundles('a misspelt option', "  tip: a similar argument exists: '--overlay'", image(), command=['unpack', '--overley', 'oci:image:latest', 'out'])
bundles('a misspelt command', "'unpack'", image(), command=['unpak', 'oci:image:latest', 'out'])
bundles('a command of an engine', '`tare-image pull SOURCE DEST` copies between registries', image(), command=['push', 'oci:image:latest', 'docker://registry.example/x'])
bundles('ports and no network for them', '--publish: --network none has nothing that a port could lead to', image(), command=['run', '--network', 'none', '-p', '80:80', 'oci:image:latest'])

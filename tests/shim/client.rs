//! The other side of a shim: a caller that speaks ttrpc, and an events service that listens.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(string, tag = "1")]
    pub service: String,
    #[prost(string, tag = "2")]
    pub method: String,
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// containerd.runc.v1.Options: the fields that are used here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Options {
    #[prost(string, tag = "6")]
    pub binary_name: String,
    #[prost(string, tag = "7")]
    pub root: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Create {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    #[prost(string, tag = "5")]
    pub stdin: String,
    #[prost(string, tag = "6")]
    pub stdout: String,
    #[prost(string, tag = "7")]
    pub stderr: String,
    #[prost(message, optional, tag = "10")]
    pub options: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mount {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub source: String,
    #[prost(string, tag = "3")]
    pub target: String,
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// Most requests: the id, and perhaps an exec id and a number behind it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Named {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub number: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exec {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(string, tag = "5")]
    pub stdout: String,
    #[prost(message, optional, tag = "7")]
    pub spec: Option<Any>,
}

/// State, Start, Wait: field numbers differ, so each reads what it has.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct State {
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(int32, tag = "4")]
    pub status: i32,
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Number {
    #[prost(uint32, tag = "1")]
    pub number: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateSandbox {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(message, optional, tag = "4")]
    pub options: Option<Any>,
}

/// runtime.v1.PodSandboxConfig: the fields that are used here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodConfig {
    #[prost(string, tag = "2")]
    pub hostname: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxStatus {
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(string, tag = "3")]
    pub state: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bootstrap {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "5")]
    pub ttrpc_address: String,
    #[prost(string, optional, tag = "9")]
    pub socket_dir: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BootstrapResult {
    #[prost(int32, tag = "1")]
    pub version: i32,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(string, tag = "3")]
    pub protocol: String,
}

#[derive(Clone, PartialEq, Message)]
struct Forward {
    #[prost(message, optional, tag = "1")]
    envelope: Option<Envelope>,
}

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(string, tag = "3")]
    topic: String,
}

/// Codes of gRPC.
pub(crate) const INVALID: i32 = 3;
pub(crate) const NOT_FOUND: i32 = 5;
pub(crate) const EXISTS: i32 = 6;
pub(crate) const EXHAUSTED: i32 = 8;
pub(crate) const PRECONDITION: i32 = 9;
pub(crate) const UNIMPLEMENTED: i32 = 12;

pub(crate) fn frame(stream: u32, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(data);
    out
}

pub(crate) fn read_frame(socket: &mut UnixStream) -> std::io::Result<(u32, Vec<u8>)> {
    let mut header = [0; 10];
    socket.read_exact(&mut header)?;
    let length = u32::from_be_bytes(header[..4].try_into().unwrap());
    let mut data = vec![0; length as usize];
    socket.read_exact(&mut data)?;
    Ok((u32::from_be_bytes(header[4..8].try_into().unwrap()), data))
}

/// A connection to a shim.
pub(crate) struct Client {
    pub socket: UnixStream,
    stream: u32,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let socket = UnixStream::connect(address.trim_start_matches("unix://")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, stream: 1 }
    }

    pub(crate) fn request(method: &str, message: &impl Message) -> Vec<u8> {
        let service = "containerd.task.v3.Task".to_owned();
        Request { service, method: method.to_owned(), payload: message.encode_to_vec() }.encode_to_vec()
    }

    /// Calls the sandbox service.
    pub(crate) fn sandbox(&mut self, method: &str, message: &impl Message) -> Result<Vec<u8>, Status> {
        let stream = self.send_sandbox(method, message);
        self.answer(stream)
    }

    pub(crate) fn send_sandbox(&mut self, method: &str, message: &impl Message) -> u32 {
        let stream = self.stream;
        self.stream += 2;
        let service = "containerd.runtime.sandbox.v1.Sandbox".to_owned();
        let request = Request { service, method: method.to_owned(), payload: message.encode_to_vec() };
        self.socket.write_all(&frame(stream, 1, &request.encode_to_vec())).unwrap();
        stream
    }

    /// Sends a call without waiting. Returns its stream.
    pub(crate) fn send(&mut self, method: &str, message: &impl Message) -> u32 {
        let stream = self.stream;
        self.stream += 2;
        self.socket.write_all(&frame(stream, 1, &Self::request(method, message))).unwrap();
        stream
    }

    /// Waits for the answer of a stream; others before it are passed over.
    pub(crate) fn answer(&mut self, stream: u32) -> Result<Vec<u8>, Status> {
        loop {
            let (found, data) = read_frame(&mut self.socket).unwrap();
            if found == stream {
                let response = Response::decode(data.as_slice()).unwrap();
                return response.status.filter(|status| status.code != 0).map_or(Ok(response.payload), Err);
            }
        }
    }

    pub(crate) fn call(&mut self, method: &str, message: &impl Message) -> Result<Vec<u8>, Status> {
        let stream = self.send(method, message);
        self.answer(stream)
    }

    /// The code of a call that fails.
    pub(crate) fn code(&mut self, method: &str, message: &impl Message) -> i32 {
        self.call(method, message).map_or_else(|status| status.code, |_| 0)
    }
}

/// An events service at a socket, which keeps the topics.
pub(crate) struct Events {
    pub path: PathBuf,
    pub topics: Arc<Mutex<Vec<String>>>,
}

impl Events {
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), topics: Arc::default() }
    }

    pub(crate) fn listen(&self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        let topics = Arc::clone(&self.topics);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (mut socket, topics) = (socket.unwrap(), Arc::clone(&topics));
                std::thread::spawn(move || {
                    while let Ok((stream, data)) = read_frame(&mut socket) {
                        let request = Request::decode(data.as_slice()).unwrap();
                        let forward = Forward::decode(request.payload.as_slice()).unwrap();
                        topics.lock().unwrap().push(forward.envelope.unwrap().topic);
                        let _ = socket.write_all(&frame(stream, 2, &[]));
                    }
                });
            }
        });
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.topics
            .lock()
            .unwrap()
            .iter()
            .map(|topic| topic.trim_start_matches("/tasks/").to_owned())
            .collect()
    }
}

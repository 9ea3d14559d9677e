//! Lists, moves and changes network devices and their addresses over a blocking rtnetlink(7) socket.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, Parseable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::Result;

/// The requests and answers in use. The crate's own enum of all messages would include the parsers of all.
#[derive(Debug)]
enum Message {
    GetLinks,
    SetLink(LinkMessage),
    RemoveLink(LinkMessage),
    /// An answer, of which only the header is used, and the index of the bridge that the device is on.
    Link(LinkHeader, Option<u32>),
    GetAddresses,
    Address(AddressMessage),
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        match self {
            Self::GetLinks => libc::RTM_GETLINK,
            Self::SetLink(_) | Self::Link(..) => libc::RTM_NEWLINK,
            Self::RemoveLink(_) => libc::RTM_DELLINK,
            Self::GetAddresses => libc::RTM_GETADDR,
            Self::Address(_) => libc::RTM_NEWADDR,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::GetLinks => LinkMessage::default().buffer_len(),
            Self::SetLink(link) | Self::RemoveLink(link) => link.buffer_len(),
            Self::Link(header, _) => header.buffer_len(),
            Self::GetAddresses => AddressMessage::default().buffer_len(),
            Self::Address(address) => address.buffer_len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::GetLinks => LinkMessage::default().emit(buffer),
            Self::SetLink(link) | Self::RemoveLink(link) => link.emit(buffer),
            Self::Link(header, _) => header.emit(buffer),
            Self::GetAddresses => AddressMessage::default().emit(buffer),
            Self::Address(address) => address.emit(buffer),
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, DecodeError> {
        match header.message_type {
            libc::RTM_NEWADDR => AddressMessage::parse(payload).map(Self::Address),
            _ => LinkHeader::parse(payload).map(|header| Self::Link(header, master(payload))),
        }
    }
}

/// Returns the attribute IFLA_MASTER of a device: the index of the bridge that it is on. Each attribute has a
/// length, a type, and begins at a multiple of four bytes.
fn master(payload: &[u8]) -> Option<u32> {
    let mut attributes = payload.get(LinkHeader::default().buffer_len()..)?;
    loop {
        let short = |at: usize| Some(u16::from_ne_bytes(attributes.get(at..at + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(short(0)?), short(2)?);
        if kind == libc::IFLA_MASTER {
            return Some(u32::from_ne_bytes(attributes.get(4..8)?.try_into().ok()?));
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// A socket. It stays in the network namespace in which it was opened, even if its owner enters another.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens a socket in this thread's network namespace.
    pub fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).map(Self)
    }

    /// Lists all devices, with index and flags.
    pub fn links(&self) -> Result<Vec<(u32, LinkFlags)>> {
        let links = self.dump(|| Message::GetLinks)?;
        let link = |message| match message {
            Message::Link(link, _) => Some((link.index, link.flags)),
            _ => None,
        };
        Ok(links.into_iter().filter_map(link).collect())
    }

    /// Looks up the index of the device of this name.
    ///
    /// # Errors
    /// ENODEV if there is none.
    pub fn index_of(&self, name: &str) -> Result<u32> {
        // SAFETY: ifreq is plain data for which zero is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        if name.len() >= request.ifr_name.len() {
            return Err(Errno::ENODEV);
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        // SAFETY: SIOCGIFINDEX, which every socket takes, reads and writes within the live ifreq.
        let asked = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCGIFINDEX as _, &raw mut request) };
        super::check(asked.into())?;
        // SAFETY: the kernel has just written this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
    }

    /// Moves a device into another namespace under another name, in one step.
    ///
    /// # Errors
    /// EEXIST if the name is in use there, EINVAL if the device is bound to its namespace.
    pub fn move_to(&self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let namespace: RawFd = namespace.as_raw_fd();
        let mut link = link(index);
        link.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::NetNsFd(namespace)];
        self.change(Message::SetLink(link), 0)
    }

    /// The devices that are on the bridge `index`.
    pub fn ports(&self, index: u32) -> Result<Vec<u32>> {
        let links = self.dump(|| Message::GetLinks)?;
        let port = |link| match link {
            Message::Link(link, Some(bridge)) if bridge == index => Some(link.index),
            _ => None,
        };
        Ok(links.into_iter().filter_map(port).collect())
    }

    /// Removes a device.
    pub fn remove(&self, index: u32) -> Result<()> {
        self.change(Message::RemoveLink(link(index)), 0)
    }

    /// Removes devices at once, for which the kernel waits for its readers once. They get the number of a `group`
    /// that no other device of this namespace has.
    pub fn remove_together(&self, indexes: &[u32], group: u32) -> Result<()> {
        let mut any = link(0);
        any.attributes = vec![LinkAttribute::Group(group)];
        for &index in indexes {
            any.header.index = index;
            self.change(Message::SetLink(any.clone()), 0)?;
        }
        any.header.index = 0;
        self.change(Message::RemoveLink(any), 0)
    }

    /// Brings a device up.
    pub fn up(&self, index: u32) -> Result<()> {
        let mut link = link(index);
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.change(Message::SetLink(link), 0)
    }

    /// Lists the addresses of a device.
    pub fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>> {
        let addresses = self.dump(|| Message::GetAddresses)?;
        let of_device = |message| match message {
            Message::Address(address) if address.header.index == index => Some(address),
            _ => None,
        };
        Ok(addresses.into_iter().filter_map(of_device).collect())
    }

    /// Adds an address to the device that it names.
    ///
    /// # Errors
    /// EEXIST if the device has it already.
    pub fn add_address(&self, address: AddressMessage) -> Result<()> {
        self.change(Message::Address(address), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn change(&self, message: Message, flags: u16) -> Result<()> {
        self.ask(message, NLM_F_ACK | flags).map(drop)
    }

    /// Requests a list. If it changed while the kernel wrote it, requests it again.
    fn dump(&self, message: impl Fn() -> Message) -> Result<Vec<Message>> {
        loop {
            match self.ask(message(), NLM_F_DUMP) {
                Err(Errno::EINTR) => {}
                other => return other,
            }
        }
    }

    /// Sends a request and collects its answers.
    fn ask(&self, message: Message, flags: u16) -> Result<Vec<Message>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        send(self.0.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut answers = Answers::default();
        // The kernel's largest part of a list has 32 KiB.
        let mut buffer = vec![0; 64 << 10];
        while !answers.ended {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                length => answers.add(&buffer[..length?])?,
            }
        }
        if answers.interrupted { Err(Errno::EINTR) } else { Ok(answers.messages) }
    }
}

/// The answers to one request.
#[derive(Default)]
struct Answers {
    messages: Vec<Message>,
    /// Whether the list has changed while the kernel wrote it.
    interrupted: bool,
    ended: bool,
}

impl Answers {
    /// Adds the messages of one datagram, each of which starts at a multiple of four bytes.
    fn add(&mut self, mut datagram: &[u8]) -> Result<()> {
        while !datagram.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(datagram).map_err(|_| Errno::EPROTO)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            datagram = datagram.get(length..).unwrap_or_default();
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            let end = match message.payload {
                NetlinkPayload::InnerMessage(answer) => {
                    self.messages.push(answer);
                    continue;
                }
                NetlinkPayload::Error(error) => error.raw_code(),
                NetlinkPayload::Done(done) => done.code,
                _ => continue,
            };
            // 0 is an acknowledgement, or the end of a list.
            self.ended = true;
            if end < 0 {
                return Err(Errno::from_raw(-end));
            }
        }
        Ok(())
    }
}

fn link(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_listed_with_its_index() {
        let netlink = Netlink::open().unwrap();
        let index = netlink.index_of("lo").unwrap();
        assert!(netlink.links().unwrap().iter().any(|(known, _)| *known == index));
        assert_eq!(netlink.index_of("no-such-device"), Err(Errno::ENODEV));
        assert_eq!(netlink.index_of("a-name-that-is-too-long"), Err(Errno::ENODEV));
    }

    #[test]
    fn the_bridge_of_a_device_is_found_among_its_attributes() {
        let header = [0_u8; 16];
        let attribute = |length: u16, kind: u16, value: &[u8]| {
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
        };
        let name = attribute(7, libc::IFLA_IFNAME, b"lo\0\0");
        let bridge = attribute(8, libc::IFLA_MASTER, &7_u32.to_ne_bytes());
        assert_eq!(master(&[&header[..], &name, &bridge].concat()), Some(7));
        assert_eq!(master(&[&header[..], &name].concat()), None);
        for damaged in [&[][..], &[0], &[0; 17], &[0; 40], &[0xff; 40]] {
            assert_eq!(master(damaged), None);
        }
    }

    #[test]
    fn what_the_kernel_refuses_comes_as_its_errno() {
        assert_eq!(Netlink::open().unwrap().up(i32::MAX as u32), Err(Errno::ENODEV));
    }
}

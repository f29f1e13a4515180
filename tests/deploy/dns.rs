//! A DNS server for one name, which resolves to the addresses of all nodes, like the name of a service in Docker. Owns its socket
//! and the list; the cluster changes the list, HAProxy sends queries.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The address of Docker's DNS server, used here with another port.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The addresses of the name `chat`.
#[derive(Clone)]
pub struct Dns {
    addresses: Arc<Mutex<Vec<Ipv4Addr>>>,
    port: u16,
}

impl Dns {
    /// Answers until the last clone is dropped.
    pub fn serve() -> Self {
        let socket = UdpSocket::bind((ADDRESS, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let addresses = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::downgrade(&addresses);
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Some(addresses) = known.upgrade() {
                if let Ok((length, from)) = socket.recv_from(&mut packet)
                    && let Some(answer) = answer(&packet[..length], &addresses.lock().unwrap())
                {
                    let _the_client_retries = socket.send_to(&answer, from);
                }
            }
        });
        Self { addresses, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn add(&self, address: Ipv4Addr) {
        self.addresses.lock().unwrap().push(address);
    }

    pub fn remove(&self, address: Ipv4Addr) {
        self.addresses.lock().unwrap().retain(|known| *known != address);
    }
}

/// The answer to a query: the name `chat` has all addresses as A records; no other name exists.
fn answer(query: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let name_ends = question.iter().position(|byte| *byte == 0)? + 1;
    let question = question.get(..name_ends + 4)?;
    let known = question[..name_ends] == *b"\x04chat\0";
    let wants_a = question[name_ends..name_ends + 2] == [0, 1];
    let found: &[Ipv4Addr] = if known && wants_a { addresses } else { &[] };
    let code = if known { 0 } else { 3 };

    let mut answer = query[..2].to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1, 0, u8::try_from(found.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question);
    for address in found {
        // The name of the question, A, IN, 1 s, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

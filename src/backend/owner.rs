//! Whom a stored message is charged to. Owns the identity of who pays: a user, or an address where names prove nothing. Made
//! by `chat`; the stores and the limits of single users count by it.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::protocol::UserName;

/// A user or an address, as all nodes know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payer {
    /// A user whose name is proved, or whose address many clients share.
    User(UserName),
    /// An address, an IPv6 one as its network.
    Address(IpAddr),
}

/// A user or an address, as a hash under a key of this process: eight bytes beside each message instead of a name, and
/// nobody can choose a name that counts as another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u64);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl From<&Payer> for Owner {
    fn from(payer: &Payer) -> Self {
        match payer {
            Payer::User(user) => Self::from(user),
            Payer::Address(address) => Self::from(*address),
        }
    }
}

impl From<&UserName> for Owner {
    fn from(user: &UserName) -> Self {
        Self(KEY.hash_one(('u', user)))
    }
}

impl From<IpAddr> for Owner {
    fn from(address: IpAddr) -> Self {
        Self(KEY.hash_one(('a', address)))
    }
}

//! The URL of Redis. Owns its form, and the words of the error for one that does not fit, which never repeat it: it may
//! contain a password. Used by the validation, and by the backend that connects.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

/// The forms of the URL, for errors.
const FORM: &str = "must have the form redis://[[user]:password@]host[:port][/db], rediss://… for TLS, or \
                    redis+unix:///path/to/socket[?db=1&user=…&pass=…]; several addresses have commas in between, as in \
                    redis://a:26379,b:26379/0";

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What the URL says.
#[derive(Debug)]
pub struct RedisUrl {
    /// Where the servers listen: at least one address, and more than one only for TCP.
    pub addresses: Vec<RedisAddress>,
    /// Number of the database.
    pub database: u32,
    /// The user's name, if it is not the default user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RedisAddress {
    /// A host name or an IP address (without brackets), and a port.
    Tcp {
        /// Host name or IP address.
        host: String,
        /// Port.
        port: u16,
        /// Whether the server speaks TLS there.
        is_tls: bool,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

impl RedisUrl {
    /// Parses the URL of Redis.
    ///
    /// # Errors
    /// The text says what the URL must be, as in "redis.url must …"; it contains no part of the URL.
    pub fn parse(url: &str) -> Result<Self, String> {
        Self::parse_with(url, REDIS_PORT)
    }

    /// Parses the URL of Sentinels. User, password and database are those of the servers that the Sentinels watch.
    ///
    /// # Errors
    /// As of [`RedisUrl::parse`].
    pub fn parse_sentinels(url: &str) -> Result<Self, String> {
        Self::parse_with(url, SENTINEL_PORT)
    }

    /// Whether the servers speak TLS.
    pub fn is_tls(&self) -> bool {
        self.addresses.iter().any(|address| matches!(address, RedisAddress::Tcp { is_tls: true, .. }))
    }

    fn parse_with(url: &str, port: u16) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
        if rest.ends_with("#insecure") {
            return Err(
                "must not end with #insecure: certificates are always checked. Set redis.tls.ca_file to the \
                        authority that signed the server's"
                    .into(),
            );
        }
        if rest.contains('#') {
            return Err("contains a #: percent-encode it as %23".into());
        }
        match scheme {
            "redis" | "valkey" => Self::parse_tcp(rest, false, port),
            "rediss" | "valkeys" => Self::parse_tcp(rest, true, port),
            "redis+unix" | "valkey+unix" | "unix" => Self::parse_unix(rest),
            _ => Err(FORM.into()),
        }
    }

    fn parse_tcp(rest: &str, is_tls: bool, default_port: u16) -> Result<Self, String> {
        if rest.contains(",redis://") || rest.contains(",rediss://") {
            return Err(FORM.into());
        }
        // A password may contain a stray `@`, so the last one counts.
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((name, password)) => (decoded(name)?, decoded(password)?),
            None => (String::new(), String::new()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if let Some((name, _)) = pairs(query).find(|pair| *pair != ("protocol", "resp3")) {
            return Err(unknown(name));
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let mut addresses = Vec::new();
        for text in authority.split(',') {
            let address = RedisAddress::parse_tcp(text, is_tls, default_port)?;
            if addresses.contains(&address) {
                return Err("has one address twice".into());
            }
            addresses.push(address);
        }
        Ok(Self::new(addresses, database_number(database)?, username, password))
    }

    fn parse_unix(rest: &str) -> Result<Self, String> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !path.starts_with('/') {
            return Err(FORM.into());
        }
        let (mut database, mut username, mut password) = (0, String::new(), String::new());
        for (name, value) in pairs(query) {
            match name {
                "db" => database = database_number(value)?,
                "user" => username = decoded(value)?,
                "pass" => password = decoded(value)?,
                "protocol" if value == "resp3" => {}
                name => return Err(unknown(name)),
            }
        }
        let path = percent_decode_str(path).decode_utf8().map_err(|_| FORM)?;
        let address = RedisAddress::Unix(PathBuf::from(path.into_owned()));
        Ok(Self::new(vec![address], database, username, password))
    }

    fn new(addresses: Vec<RedisAddress>, database: u32, username: String, password: String) -> Self {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        Self { addresses, database, username: given(username), password: given(password).map(Into::into) }
    }
}

impl RedisAddress {
    /// Parses a host and a port.
    fn parse_tcp(text: &str, is_tls: bool, default_port: u16) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(FORM)?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => {
                port.parse().ok().filter(|port| *port > 0).ok_or("must have a port from 1 to 65535")?
            }
            None if port.is_empty() => default_port,
            None => return Err(FORM.into()),
        };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(FORM.into());
        }
        Ok(Self::Tcp { host: host.into(), port, is_tls })
    }
}

/// Host and port, or the path.
impl std::fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The pairs of a query, in which each value may be percent-encoded.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The error for a parameter.
fn unknown(name: &str) -> String {
    match name {
        "protocol" => "must not choose the protocol: chatnode needs RESP3".into(),
        "db" | "user" | "pass" => format!("has the parameter `{name}`, which only redis+unix:// has: {FORM}"),
        // The name itself may be a piece of a password.
        _ => "has a parameter after ? that is not known; if the ? belongs to the password, percent-encode it as %3F"
            .into(),
    }
}

fn database_number(text: &str) -> Result<u32, String> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| "must end with the number of a database, such as /0".to_owned()),
    }
}

/// A user's name or a password without its percent-encoding.
fn decoded(text: &str) -> Result<String, String> {
    const ENCODE: &str = "has a user or password with special characters: percent-encode them (% is %25, @ is %40, : is \
                          %3A, / is %2F, ? is %3F, # is %23), or set redis.username and redis.password";
    let is_complete = |rest: &str| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if text.contains(['@', ':', '/', '?', ' ']) || !text.split('%').skip(1).all(is_complete) {
        return Err(ENCODE.into());
    }
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_| ENCODE.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn tcp(host: &str, port: u16, is_tls: bool) -> RedisAddress {
        RedisAddress::Tcp { host: host.into(), port, is_tls }
    }

    #[test]
    fn url_tells_address_database_and_credentials() {
        for (url, address, database, credentials) in [
            ("redis://h", tcp("h", 6379, false), 0, (None, None)),
            ("valkeys://h:1/", tcp("h", 1, true), 0, (None, None)),
            ("rediss://:p@[::1]:7/3", tcp("::1", 7, true), 3, (None, Some("p"))),
            (
                "redis://u:p%40ss%2Fw%23rd%25%3F%3A@h/0?protocol=resp3",
                tcp("h", 6379, false),
                0,
                (Some("u"), Some("p@ss/w#rd%?:")),
            ),
            ("redis+unix:///run/r%20s.sock", RedisAddress::Unix("/run/r s.sock".into()), 0, (None, None)),
            ("unix:///r?db=2&user=u&pass=p%26", RedisAddress::Unix("/r".into()), 2, (Some("u"), Some("p&"))),
        ] {
            let parsed = RedisUrl::parse(url).unwrap();
            assert_eq!((&parsed.addresses[..], parsed.database), (&[address][..], database), "{url}");
            let password = parsed.password.as_ref().map(|password| password.expose_secret());
            assert_eq!((parsed.username.as_deref(), password), credentials, "{url}");
        }
    }

    #[test]
    fn url_has_several_addresses_with_commas_in_between() {
        let parsed = RedisUrl::parse_sentinels("rediss://u:p,w@a,[::1]:7,c:26380/3").unwrap();
        assert_eq!(parsed.addresses, [tcp("a", 26379, true), tcp("::1", 7, true), tcp("c", 26380, true)]);
        assert_eq!(parsed.password.as_ref().map(|password| password.expose_secret()), Some("p,w"));
        assert!(parsed.is_tls() && parsed.database == 3);
        let shown: Vec<String> = parsed.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:26379", "[::1]:7", "c:26380"]);
        assert_eq!(RedisUrl::parse("redis://a,b").unwrap().addresses[1], tcp("b", 6379, false));
    }

    #[test]
    fn error_says_what_to_change_and_shows_no_password() {
        for (url, hint) in [
            ("s3cret", "must have the form"),
            ("http://:s3cret@h", "must have the form"),
            ("redis://:s3cret@h#insecure", "redis.tls.ca_file"),
            ("redis://:s3#cret@h", "%23"),
            ("redis://:s3cret@x@h", "percent-encode"),
            ("redis://:s3cret/@h", "percent-encode"),
            ("redis://:s3cret%@h", "percent-encode"),
            ("redis://:s3cret%FF@h", "percent-encode"),
            ("redis://:s3cret:x@h", "percent-encode"),
            ("redis://:s3cret@h?protocol=resp2", "RESP3"),
            ("redis://h?s3cret", "%3F"),
            ("redis://h?pass=s3cret", "only redis+unix://"),
            ("redis://:s3cret@h:99999", "port"),
            ("redis://:s3cret@h/x", "database"),
            ("redis://:s3cret@", "must have the form"),
            ("redis+unix://s3cret", "must have the form"),
            ("redis://:s3cret@a,", "must have the form"),
            ("redis://:s3cret@a,a:6379", "twice"),
            ("redis://:s3cret@a,redis://:s3cret@b", "commas"),
            ("redis+unix:///r?pass=s3cret&x=s3cret", "%3F"),
        ] {
            let error = RedisUrl::parse(url).unwrap_err();
            assert!(error.contains(hint) && !error.contains("s3"), "{url}: {error}");
        }
    }
}

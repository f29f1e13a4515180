//! Attachments of messages. Owns which addresses they may name; their form is the protocol's business, and no node ever fetches
//! one. Called by the node before a message is stored.

use url::{Host, Url};

use super::error::RequestError;
use crate::config::url_host;
use crate::protocol::{Attachment, ErrorCode};

/// The hosts that attachments may name.
pub(super) struct AttachmentRules {
    /// Empty: every host, over https only.
    hosts: Vec<String>,
}

impl AttachmentRules {
    pub(super) fn new(hosts: &[String]) -> Self {
        Self { hosts: hosts.iter().filter_map(|host| url_host(host)).collect() }
    }

    /// Refuses the first attachment with an address that is not allowed, and names its field.
    pub(super) fn check(&self, attachments: &[Attachment]) -> Result<(), RequestError> {
        for (index, attachment) in attachments.iter().enumerate() {
            if let Err(why) = self.check_url(&attachment.url) {
                let message = format!("`attachments[{index}].url` {why}");
                return Err(RequestError::new(ErrorCode::InvalidMessage, message));
            }
        }
        Ok(())
    }

    fn check_url(&self, url: &str) -> Result<(), String> {
        let url = Url::parse(url).map_err(|error| format!("is not a URL: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user name or password".into());
        }
        let host = match url.host() {
            Some(Host::Domain(host)) => host.to_ascii_lowercase(),
            Some(host) => host.to_string(),
            None => return Err("has no host".into()),
        };
        match (url.scheme(), self.hosts.is_empty()) {
            ("https", true) => Ok(()),
            (_, true) => Err("must begin with https://".into()),
            ("https" | "http", false) if self.hosts.contains(&host) => Ok(()),
            ("https" | "http", false) => {
                let hosts = self.hosts.join(", ");
                Err(format!("names the host {host}; this server allows {hosts} (messages.attachment_hosts)"))
            }
            _ => Err("must begin with https://".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &[&str], url: &str) -> Result<(), String> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        AttachmentRules::new(&hosts).check_url(url)
    }

    #[test]
    fn only_https_without_a_list_of_hosts() {
        assert_eq!(check(&[], "https://files.example/a.png?x=1"), Ok(()));
        for url in [
            "http://files.example/a",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "//files.example",
            "https:///",
            "https://ann:secret@files.example/",
            "ftp://files.example/",
        ] {
            assert!(check(&[], url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_listed_hosts_if_there_is_a_list() {
        let hosts = ["Files.Example", "127.0.0.1", "[::1]", "bücher.example"];
        for url in [
            "https://files.example/a",
            "http://FILES.example:81/a",
            "http://127.0.0.1/",
            "http://[::1]/",
            "https://bücher.example",
        ] {
            assert_eq!(check(&hosts, url), Ok(()), "{url}");
        }
        for url in ["https://files.example.evil/", "https://evil/files.example", "javascript:files.example"] {
            assert!(check(&hosts, url).is_err(), "{url}");
        }
    }
}

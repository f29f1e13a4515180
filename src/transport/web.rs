//! The chat page of the folder `web/`, embedded in the binary. Owns which files are served, and their security headers; knows
//! nothing of the chat. Called by the router.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::config::{Config, url_host};

/// Allows only the page's own files, and pictures of the hosts that attachments may name: no inline code, no frame around the
/// page, and no HTML from strings.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'{hosts}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../web/", $name)))),+]
    };
}

const FILES: [(&str, &str); FILE_COUNT] = files![
    "actions.js",
    "address.js",
    "app.js",
    "attachments.js",
    "banner.js",
    "blocks.js",
    "changes.js",
    "choices.js",
    "clipboard.js",
    "composer.js",
    "connection.js",
    "conversation.js",
    "dom.js",
    "format.js",
    "header.js",
    "health.js",
    "icon.svg",
    "inbound.js",
    "linked.js",
    "mentions.js",
    "menu.js",
    "message.js",
    "moderation.js",
    "notifications.js",
    "order.js",
    "outbox.js",
    "page.css",
    "pages.js",
    "popup.js",
    "preferences.js",
    "prompt.js",
    "reactions.js",
    "reply.js",
    "rights.js",
    "roving.js",
    "session.js",
    "sidebar.js",
    "signin.js",
    "speech.js",
    "storage.js",
    "strings-rights.js",
    "strings.js",
    "suggestions.js",
    "switcher.js",
    "theme.js",
    "timeline.js",
    "words.js",
];
const FILE_COUNT: usize = 47;

/// The files as browsers get them.
static SERVED: LazyLock<[(&str, Bytes); FILE_COUNT]> =
    LazyLock::new(|| FILES.map(|(name, text)| (name, without_comments(text).into())));

const INDEX: &str = include_str!("../../web/index.html");

/// The page, with the settings that it needs before it connects.
pub(super) fn index(config: &Config) -> Response {
    let rooms = &config.rooms;
    let hosts = picture_hosts(&config.messages.attachment_hosts);
    let page = filled(&rooms.default, &rooms.read_only, &hosts, config.limits.max_frame_bytes);
    serve("index.html", page, &hosts)
}

/// The hosts of which a browser can be told to load pictures: a policy has no IPv6 addresses.
fn picture_hosts(hosts: &[String]) -> Vec<String> {
    hosts.iter().filter_map(|host| url_host(host)).filter(|host| !host.starts_with('[')).collect()
}

/// Without a scheme, a host is allowed over https, and over http only to a page that came over http itself.
fn policy(hosts: &[String]) -> String {
    let hosts: String = hosts.iter().map(|host| format!(" {host}:*")).collect();
    CONTENT_SECURITY_POLICY.replace("{hosts}", &hosts)
}

/// Everything is inserted in one pass: the name of a room can be any text, `{frame}` too.
fn filled(room: &str, read_only: &[String], hosts: &[String], frame: usize) -> String {
    let list = |names: &[String]| serde_json::json!(names).to_string();
    let (read_only, hosts) = (list(read_only), list(hosts));
    let escape = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let mut page = String::with_capacity(INDEX.len() + room.len() + read_only.len());
    let mut rest = INDEX;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        page += before;
        page += &match name {
            "room" => escape(room),
            "read_only" => escape(&read_only),
            "picture_hosts" => escape(&hosts),
            _ => frame.to_string(),
        };
        rest = after;
    }
    page + rest
}

/// `/assets/<name>`.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match SERVED.iter().find(|(file, _)| *file == name) {
        Some((file, bytes)) => serve(file, bytes.clone(), &[]),
        None => (StatusCode::NOT_FOUND, "not found: no such file").into_response(),
    }
}

/// A file without the lines that are comments and nothing else: a quarter of what a browser would download. Empty lines stay
/// for them, so that a browser's console names the lines of the repository.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut is_open = false;
    for line in text.lines() {
        let start = line.trim_start();
        let end = start.find("*/").map(|at| at + 2);
        is_open |= start.starts_with("/*") && end.is_none();
        let is_comment = start.starts_with("//") || (start.starts_with("/*") && end == Some(start.len()));
        if !is_open && !is_comment {
            code += line;
        }
        is_open &= end.is_none();
        code.push('\n');
    }
    code
}

/// The pages of a browser may load pictures of these hosts.
fn serve(name: &str, bytes: impl IntoResponse, hosts: &[String]) -> Response {
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // The files change with the binary: after an upgrade of the node, a browser must not mix old and new files.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // The hosts are plain names; without a policy, nothing would be served.
    let policy =
        HeaderValue::try_from(policy(hosts)).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert("content-security-policy", policy);
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// The budget for everything that a browser downloads, if a proxy compresses it.
    #[test]
    fn page_stays_below_60_kib_gzipped() {
        let gzipped = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap().len()
        };
        let files: usize = SERVED.iter().map(|(_, bytes)| gzipped(bytes)).sum();
        let all = files + gzipped(INDEX.as_bytes());
        assert!(all < 60 << 10, "{all} bytes");
    }

    #[test]
    fn only_lines_of_comments_are_left_out() {
        let text = "// a\n\tlet b = 1; // c\n/** d */\n/**\n * e\n */\nlet f = /** @type {g} */ (h);\n\t/* i */ j(); /* k */\n";
        let left = "\n\tlet b = 1; // c\n\n\n\n\nlet f = /** @type {g} */ (h);\n\t/* i */ j(); /* k */\n";
        assert_eq!(without_comments(text), left);
        for (name, text) in FILES {
            let served = without_comments(text);
            assert_eq!(served.lines().count(), text.lines().count(), "{name}");
            for (line, original) in served.lines().zip(text.lines()) {
                let start = original.trim_start();
                let is_comment = ["//", "/*", "*"].iter().any(|begin| start.starts_with(begin));
                assert!(line == original || (line.is_empty() && is_comment), "{name}: {original}");
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let names =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The types are for the type check only.
        let mut wanted: Vec<_> = names.filter(|name| name != "index.html" && name != "page.d.ts").collect();
        wanted.sort();
        assert_eq!(FILES.map(|(name, _)| name).to_vec(), wanted);
    }

    #[test]
    fn policy_allows_pictures_of_plain_hosts_only() {
        let hosts = ["Files.Example", "127.0.0.1", "[::1]", "a; script-src *"];
        let allowed = picture_hosts(&hosts.map(str::to_owned));
        assert_eq!(allowed, ["files.example", "127.0.0.1"]);
        assert!(policy(&allowed).contains("; img-src 'self' files.example:* 127.0.0.1:*; base-uri 'none';"));
        assert!(policy(&[]).contains("; img-src 'self'; base-uri 'none';"));
    }

    #[test]
    fn room_name_stays_inside_its_quotes() {
        let page = filled("\"><script>&{frame}", &["<news> \"{room}\"".to_owned()], &[], 131_072);
        assert!(
            page.contains(
                r#" data-room="&quot;>&lt;script>&amp;{frame}" data-frame="131072" data-read-only="[&quot;&lt;news> \&quot;{room}\&quot;&quot;]" data-picture-hosts="[]">"#
            ),
            "{page}"
        );
    }
}

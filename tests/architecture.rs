//! The rules of the house that a compiler does not know: which layer may use which, how long a file may be, what a
//! file may not be called, and where the store's name may stand. Reads the sources.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

/// The most lines of a source file. One that does not fit is missing a type.
const MAX_LINES: usize = 400;

/// The layers from left to right; each uses only what stands to its right.
const LAYERS: [&str; 7] = ["main", "cli", "server", "transport", "chat", "backend", "protocol"];

/// What any layer but the protocol may use. Among themselves they too use only what stands to their right, and the
/// protocol.
const LEAVES: [&str; 6] = ["telemetry", "config", "metrics", "supervise", "failpoints", "work_queue"];

/// Arrows that the order would allow. (The protocol and the client are packages of their own: Cargo holds what they may use.)
const FORBIDDEN: [(&str, &str); 1] = [("transport", "backend")];

/// Whether code of one layer may use another.
fn may_use(from: &str, to: &str) -> bool {
    let place = |list: &[&str], name: &str| list.iter().position(|entry| *entry == name);
    match (place(&LAYERS, from), place(&LAYERS, to)) {
        _ if from == to => true,
        _ if FORBIDDEN.contains(&(from, to)) => false,
        (Some(from), Some(to)) => from < to,
        (Some(_), None) => LEAVES.contains(&to) && from != "protocol",
        (None, Some(_)) => to == "protocol",
        (None, None) => {
            matches!((place(&LEAVES, from), place(&LEAVES, to)), (Some(from), Some(to)) if from < to)
        }
    }
}

struct Source {
    /// Below `src`, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The layer that a file belongs to; none for the map of the house, which names them all.
    fn layer(&self) -> Option<&str> {
        match self.path.split('/').next().unwrap().trim_end_matches(".rs") {
            "lib" => None,
            "bin" => Some("main"),
            layer => Some(layer),
        }
    }

    /// The layers that a file uses, by every path that begins with `crate::` or the package's own name.
    fn uses(&self) -> Vec<String> {
        let code = code(&self.text);
        let paths = code.match_indices("crate::").chain(code.match_indices("chatnode::"));
        paths.flat_map(|(at, root)| first_names(&code[at + root.len()..])).collect()
    }
}

/// The names that a path, or a group in braces of paths, begins with.
fn first_names(path: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// A source without its comments and texts, which may say what they like, and without its tests at the end.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let raw = rest.starts_with("r\"") || rest.starts_with("r#\"") || rest.starts_with("br#\"");
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("'\"'") {
            3
        } else if raw && !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            let open = rest.find('"').unwrap() + 1;
            let end = if rest[..open].contains('#') { "\"#" } else { "\"" };
            open + rest[open..].find(end).unwrap() + end.len()
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.unwrap() + 2
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        rest = &rest[skipped..];
    }
    code
}

fn files(below: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let mut into = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(below), &mut into);
    into.sort();
    into
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rust =
        files("src").into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let sources: Vec<Source> = rust
        .map(|path| Source {
            text: std::fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"),
        })
        .collect();
    assert!(sources.len() > 20, "only {} sources were found", sources.len());
    sources
}

/// Fails with all of them.
#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_layer_uses_only_what_stands_to_its_right() {
    let mut faults = Vec::new();
    let mut arrows = 0;
    for source in sources() {
        let Some(layer) = source.layer() else { continue };
        assert!(LAYERS.contains(&layer) || LEAVES.contains(&layer), "{} is in no layer", source.path);
        for used in source.uses() {
            arrows += 1;
            if !may_use(layer, &used) {
                faults.push(format!("src/{} uses crate::{used}", source.path));
            }
        }
    }
    assert!(arrows > 20, "only {arrows} arrows were found");
    none(&faults);
}

#[test]
fn arrows_are_read_and_judged() {
    let source = Source {
        path: "transport/connection.rs".into(),
        text: "//! crate::server\nuse crate::{chat::{Node, Session}, protocol::frame};\nlet x = crate::backend::Entry;\n\
               let s = \"crate::main\";\n#[cfg(test)]\nmod tests {\n use crate::cli;\n}\n"
            .into(),
    };
    assert_eq!(source.uses(), ["chat", "protocol", "backend"]);
    for (from, to, may) in [
        ("transport", "chat", true),
        ("transport", "backend", false),
        ("chat", "backend", true),
        ("chat", "transport", false),
        ("backend", "config", true),
        ("protocol", "config", false),
        ("config", "protocol", true),
        ("config", "chat", false),
        ("config", "telemetry", false),
        ("main", "cli", true),
        ("cli", "unheard_of", false),
    ] {
        assert_eq!(may_use(from, to), may, "{from} to {to}");
    }
}

#[test]
fn no_source_is_too_long() {
    let long = |source: &Source| source.text.lines().count() > MAX_LINES;
    let faults = sources().into_iter().filter(long);
    none(&faults.map(|s| format!("src/{} has {} lines", s.path, s.text.lines().count())).collect::<Vec<_>>());
}

#[test]
fn every_module_says_what_it_is() {
    let dumb = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(&dumb.map(|source| format!("src/{} does not begin with //!", source.path)).collect::<Vec<_>>());
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let empty_words = ["util", "utils", "helper", "helpers", "common", "manager", "types", "misc"];
    let mut faults = Vec::new();
    for path in files("src").into_iter().chain(files("tests")) {
        let below = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        let words = below.to_str().unwrap().split(['/', '.', '_']);
        if words.into_iter().any(|word| empty_words.contains(&word)) {
            faults.push(below.display().to_string());
        }
    }
    none(&faults);
}

/// What a backend is made of is its own affair. Comments, texts and tests may name it; the settings must, and so must
/// the names of metrics and the flag that sets it.
#[test]
fn only_settings_and_backends_know_what_the_store_is() {
    let mut faults = Vec::new();
    for source in sources() {
        if matches!(source.layer(), Some("config" | "backend" | "metrics")) {
            continue;
        }
        let code = code(&source.text).to_lowercase();
        for word in ["redis", "memory"] {
            if code.contains(word) {
                faults.push(format!("src/{} names {word}", source.path));
            }
        }
    }
    none(&faults);
}

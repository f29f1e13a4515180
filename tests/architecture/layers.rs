//! Rules on the layers of the server: their order, and which of them may know the store.

use crate::files::assert_no_faults;
use crate::paths::Paths;
use crate::source::{Source, code, sources};

/// The layers, highest first; each may use only the lower ones.
const LAYERS: [&str; 6] = ["main", "cli", "server", "transport", "chat", "backend"];

/// Modules that every layer may use. Among themselves the order holds as well.
const LEAVES: [&str; 9] =
    ["telemetry", "jwt", "traces", "config", "metrics", "supervise", "failpoints", "tls_files", "work_queue"];

/// Uses that the order alone would allow.
const FORBIDDEN: [(&str, &str); 1] = [("transport", "backend")];

/// Packages of the workspace that the library exports under a short name.
const PACKAGES: [&str; 1] = ["protocol"];

/// Whether the code of one layer may use another.
fn may_use(from: &str, to: &str) -> bool {
    let rank = |list: &[&str], name: &str| list.iter().position(|entry| *entry == name);
    match (rank(&LAYERS, from), rank(&LAYERS, to)) {
        _ if from == to || PACKAGES.contains(&to) => true,
        _ if FORBIDDEN.contains(&(from, to)) => false,
        (Some(from), Some(to)) => from < to,
        (Some(_), None) => LEAVES.contains(&to),
        (None, Some(_)) => false,
        (None, None) => {
            matches!((rank(&LEAVES, from), rank(&LEAVES, to)), (Some(from), Some(to)) if from < to)
        }
    }
}

/// The layer that a file below `src` belongs to; none for the library's root, which names them all.
fn layer(path: &str) -> Option<&str> {
    match path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs") {
        "lib" => None,
        "bin" => Some("main"),
        layer => Some(layer),
    }
}

/// The layers that a file uses, by every path that begins with `crate` or with the package's own name.
fn used_layers(source: &Source) -> Vec<String> {
    let read = Paths::of(&code(&source.text));
    let paths = read.imports.into_iter().map(|import| import.path);
    let paths = paths.chain(read.used.into_iter().map(|(_, path)| path));
    let of_package = paths.filter(|path| path.len() > 1 && matches!(path[0].as_str(), "crate" | "chatnode"));
    of_package.map(|path| path[1].clone()).collect()
}

#[test]
fn layers_use_only_lower_layers() {
    let mut faults = Vec::new();
    let mut count = 0;
    for source in sources(&["src"]) {
        let Some(layer) = layer(&source.path) else { continue };
        assert!(LAYERS.contains(&layer) || LEAVES.contains(&layer), "{} is in no layer", source.path);
        for used in used_layers(&source) {
            count += 1;
            if !may_use(layer, &used) {
                faults.push(format!("{} uses crate::{used}", source.path));
            }
        }
    }
    assert!(count > 20, "only {count} uses were found");
    assert_no_faults(&faults);
}

#[test]
fn uses_of_layers_are_found_and_judged() {
    let source = Source {
        path: "src/transport/connection.rs".into(),
        text: "//! crate::server\nuse crate::{chat::{Node, Session}, protocol::frame};\nlet x = crate::backend::Topic;\n\
               let s = \"crate::main\";\n#[cfg(test)]\nmod tests {\n use crate::cli;\n}\n"
            .into(),
    };
    assert_eq!(used_layers(&source), ["chat", "chat", "protocol", "backend"]);
    assert_eq!(layer(&source.path), Some("transport"));
    for (from, to, may) in [
        ("transport", "chat", true),
        ("transport", "backend", false),
        ("chat", "backend", true),
        ("chat", "transport", false),
        ("backend", "config", true),
        ("config", "protocol", true),
        ("config", "chat", false),
        ("config", "telemetry", false),
        ("main", "cli", true),
        ("cli", "unheard_of", false),
    ] {
        assert_eq!(may_use(from, to), may, "{from} to {to}");
    }
}

/// Only the backends know the store that they use. Comments, strings and tests may name it; settings, metrics and the flag for
/// its URL have to.
#[test]
fn only_settings_and_backends_name_the_store() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        if matches!(layer(&source.path), Some("config" | "backend" | "metrics")) {
            continue;
        }
        let code = code(&source.text).to_lowercase();
        for word in ["redis", "memory"] {
            if code.contains(word) {
                faults.push(format!("{} names {word}", source.path));
            }
        }
    }
    assert_no_faults(&faults);
}

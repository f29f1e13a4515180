//! Rules on the dependencies of the packages in `crates/`. Cargo ensures that their code uses no others.

use crate::source::packages;

/// The packages that each package must not depend on: the protocol needs no runtime and no network, the client nothing that
/// only a server or a terminal needs, and the load generator is a client too.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("bench", &["chatnode", "redis", "deadpool-redis", "axum", "ratatui", "crossterm", "config"]),
    (
        "protocol",
        &[
            "tokio",
            "tokio-tungstenite",
            "futures-util",
            "chatnode-client",
            "chatnode",
            "redis",
            "axum",
            "hyper",
        ],
    ),
    (
        "client",
        &["chatnode", "redis", "deadpool-redis", "axum", "hyper", "ratatui", "crossterm", "config", "clap"],
    ),
];

/// The names in the dependency tables of a manifest, except those for tests.
fn dependencies(manifest: &str) -> Vec<String> {
    let (mut names, mut is_dependencies) = (Vec::new(), false);
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            is_dependencies = table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
            // A dependency with a table of its own.
            let (of, name) = table.rsplit_once('.').unwrap_or_default();
            if of.ends_with("dependencies") && !of.ends_with("dev-dependencies") {
                names.push(name.to_owned());
            }
        } else if is_dependencies && let Some((key, value)) = line.split_once('=') {
            let name = key.trim().split('.').next().unwrap().trim_matches('"');
            // A renamed dependency counts by the name of its package.
            let renamed = value.split("package").nth(1).and_then(|rest| rest.split('"').nth(1));
            names.push(renamed.unwrap_or(name).to_owned());
        }
    }
    names
}

#[test]
fn packages_depend_on_no_higher_one() {
    let packages = packages();
    for package in &packages {
        let Some((_, forbidden)) = FORBIDDEN.iter().find(|(name, _)| name == package) else {
            panic!("crates/{package} has no rule here");
        };
        let path = format!("{}/crates/{package}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        let dependencies = dependencies(&std::fs::read_to_string(path).unwrap());
        assert!(!dependencies.is_empty(), "crates/{package} depends on nothing");
        for dependency in dependencies {
            assert!(!forbidden.contains(&dependency.as_str()), "crates/{package} depends on {dependency}");
        }
    }
    assert!(packages.iter().any(|package| package == "protocol"), "{packages:?}");
}

#[test]
fn dependencies_are_read_from_a_manifest() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\nb.workspace = true\n\
                    c = { package = \"tokio\", version = \"1\" }\n[dev-dependencies]\nd = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\n\"e\" = \"1\"\n[dependencies.redis]\nversion = \"1\"\n";
    assert_eq!(dependencies(manifest), ["a", "b", "tokio", "e", "redis"]);
}

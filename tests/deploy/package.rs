//! The parts of the Debian package, without building it: what Cargo.toml names is there, the unit fits the paths of the package,
//! and its settings are valid. deploy/release/build makes the package itself, which takes minutes.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::project;

fn chatnode() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatnode"));
    command.env_clear();
    command
}

/// What deploy/release/parts makes.
fn parts() -> TempDir {
    let folder = TempDir::new().unwrap();
    let program = env!("CARGO_BIN_EXE_chatnode");
    let done =
        Command::new(project("deploy/release/parts")).arg(program).arg(folder.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    folder
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn package() -> toml::Table {
    let manifest: toml::Table = read(&project("Cargo.toml")).parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

#[test]
fn everything_in_the_package_exists() {
    let parts = parts();
    let package = package();
    let assets = package["assets"].as_array().unwrap().iter().map(|asset| asset[0].as_str().unwrap());
    for source in assets.chain([package["changelog"].as_str().unwrap(), "target/package/chatnode.service"]) {
        if source == "target/release/chatnode" {
            continue;
        }
        let path = match source.strip_prefix("target/package/") {
            Some(part) => parts.path().join(part),
            None => project(source),
        };
        let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        let ending = name.strip_prefix('*').unwrap_or(name);
        let found = std::fs::read_dir(folder).unwrap().any(|entry| {
            let entry = entry.unwrap();
            entry.file_name().to_str().unwrap().ends_with(ending) && entry.metadata().unwrap().len() > 0
        });
        assert!(found, "{source} is missing or empty");
    }
}

#[test]
fn unit_names_the_paths_of_the_package() {
    let unit = read(&parts().path().join("chatnode.service"));
    assert!(unit.starts_with("[Unit]\n") && !unit.contains("/usr/local"), "{unit}");
    assert!(unit.contains("\nExecStart=/usr/bin/chatnode --config /etc/chatnode/chatnode.toml\n"), "{unit}");
    assert!(unit.contains("\nEnvironmentFile=-/etc/chatnode/secrets.env\n"), "{unit}");
    assert!(unit.contains("\nDocumentation=file:///usr/share/doc/chatnode/operations.md\n"), "{unit}");
    let package = package();
    let targets: Vec<String> = (package["assets"].as_array().unwrap().iter())
        .map(|asset| {
            let name = Path::new(asset[0].as_str().unwrap()).file_name().unwrap().to_str().unwrap();
            format!("/{}{name} {}", asset[1].as_str().unwrap(), asset[2].as_str().unwrap())
        })
        .collect();
    for wanted in [
        "/usr/bin/chatnode 755",
        "/etc/chatnode/chatnode.toml 644",
        // Only systemd reads it, as root.
        "/etc/chatnode/secrets.env 600",
        "/usr/share/doc/chatnode/*.md 644",
    ] {
        assert!(targets.iter().any(|target| target == wanted), "{wanted}: {targets:?}");
    }
}

/// With the secrets that its file has as examples.
#[test]
fn settings_of_the_package_are_valid() {
    let mut check = chatnode();
    check.args(["config", "check", "--config"]).arg(project("deploy/release/debian/chatnode.toml"));
    let secrets = read(&project("deploy/release/debian/secrets.env"));
    let examples: Vec<_> = secrets.lines().filter_map(|line| line.strip_prefix("#CHAT_")).collect();
    assert_eq!(examples.len(), 2, "{secrets}");
    for example in examples {
        let (name, value) = example.split_once('=').unwrap();
        let value = if value.starts_with(' ') { "f3b1c0de5a9e4c7d8b2a6f10" } else { value };
        check.env(format!("CHAT_{name}"), value);
    }
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn image_and_packages_have_the_same_features() {
    let line = |path: &str| {
        let text = read(&project(path));
        let line = text.lines().find_map(|line| line.trim_start_matches("ARG ").strip_prefix("FEATURES="));
        line.unwrap_or_else(|| panic!("{path} has no FEATURES=")).to_owned()
    };
    assert_eq!(line("Dockerfile"), line("deploy/release/build"));
}

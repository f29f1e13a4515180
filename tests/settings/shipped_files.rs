//! The files that describe the settings: they are valid, complete, and contain the real defaults.

use std::path::Path;

use chatnode::config::Config;

use crate::work_dir::WorkDir;

/// The text of `config/default.toml`, and the keys in it that are unset by default: lines such as `# key = …`.
fn default_toml() -> (String, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut section, mut unset) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        }
        let comment = line.strip_prefix("# ").and_then(|line| line.split_once(" = "));
        if let Some((key, _)) =
            comment.filter(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        {
            unset.push(format!("{section}{key}"));
        }
    }
    (text, unset)
}

fn keys(value: &serde_json::Value, path: &str, into: &mut Vec<(String, serde_json::Value)>) {
    match value.as_object() {
        Some(fields) => {
            for (name, value) in fields {
                keys(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, into);
            }
        }
        None => into.push((path.to_owned(), value.clone())),
    }
}

#[test]
fn default_toml_equals_the_defaults() {
    let (text, mut unset) = default_toml();
    let mut expected = Vec::new();
    keys(&serde_json::to_value(Config::default()).unwrap(), "", &mut expected);
    let (expected_unset, expected_set): (Vec<_>, Vec<_>) =
        expected.into_iter().partition(|(_, value)| value.is_null());

    let from_file: Config = toml::from_str(&text).unwrap();
    assert_eq!(serde_json::to_value(from_file).unwrap(), serde_json::to_value(Config::default()).unwrap());

    let mut written = Vec::new();
    let table: toml::Table = toml::from_str(&text).unwrap();
    keys(&serde_json::to_value(table).unwrap(), "", &mut written);
    let names = |pairs: Vec<(String, serde_json::Value)>| {
        let mut names: Vec<String> = pairs.into_iter().map(|(key, _)| key).collect();
        names.sort();
        names
    };
    unset.sort();
    assert_eq!(names(written), names(expected_set), "keys with a value");
    assert_eq!(unset, names(expected_unset), "keys without a value, in comments");
}

#[test]
fn shipped_config_files_are_valid() {
    let dir = WorkDir::new();
    for name in ["default.toml", "cluster.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let output = dir.run(&[], &["config", "check", "--config", path.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The certificates and the keys are read, so each example gets its own.
#[test]
fn settings_in_the_guides_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages = ["operations.md", "embedding.md", "settings.md"]
        .map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
    let blocks: Vec<&str> = pages
        .iter()
        .flat_map(|page| page.split("\n```toml\n").skip(1))
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 6, "{} examples", blocks.len());
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for block in blocks {
        let text = block.replace("/etc/letsencrypt/live/chat.example.com/", "").replace("/etc/chatnode/", "");
        let dir = WorkDir::new()
            .with("example.toml", &text)
            .with("fullchain.pem", &certificate.cert.pem())
            .with("privkey.pem", &certificate.signing_key.serialize_pem())
            .with("site.key", "Tn5r-3wXc8-Gk1z-Vb6y\n")
            .with("shop.key", "Xw7c-2mKq9-Rz4x-Lp8v\n")
            .with("reports.key", "Qe3n-8tVb1-Hj6y-Wd5s\n")
            .with("jwt.secret", "kQ3v-9tLw-8XzR-2mNb-5pYc-7sHd-4f\n");
        let output = dir.run(&[], &["config", "check", "--config", "example.toml"]);
        assert!(output.status.success(), "{block}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn settings_page_lists_every_setting_with_its_default() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/settings.md")).unwrap();
    let (text, unset) = default_toml();
    let mut settings = Vec::new();
    keys(&serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap(), "", &mut settings);
    let rows: Vec<String> = settings
        .into_iter()
        .map(|(key, value)| {
            (key, format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        })
        .chain(unset.into_iter().map(|key| (key, "unset".to_owned())))
        .map(|(key, default)| {
            let variable = format!("CHAT_{}", key.to_uppercase().replace('.', "__"));
            format!("| `{key}` | `{variable}` | {default} | ")
        })
        .collect();
    let missing: Vec<_> = rows.iter().filter(|row| !page.contains(*row)).collect();
    assert!(missing.is_empty(), "docs/settings.md lacks {missing:#?}");
    assert_eq!(page.matches("\n| `").count(), rows.len(), "docs/settings.md has rows for unknown settings");
}

/// A setting in `.env` that no node gets would be worse than an error.
#[test]
fn compose_file_passes_every_setting_or_sets_it() {
    let compose =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker-compose.yml")).unwrap();
    let lines = compose.lines().filter_map(|line| line.strip_prefix("      CHAT_")?.split_once(':'));
    let mut in_file: Vec<String> = lines.map(|(name, _)| format!("CHAT_{name}")).collect();
    // Those of the listeners, which the Dockerfile sets and HAProxy is in front of; those of the file's own Redis, which has no
    // replica; and the name, which each node needs for itself.
    let own = |key: &str| {
        ["redis.tls.", "redis.sentinel_", "tls."].iter().any(|section| key.starts_with(section))
            || matches!(key, "host" | "port" | "internal.host" | "internal.port" | "node.name")
            || matches!(key, "redis.username" | "redis.password" | "redis.password_file")
            || matches!(key, "redis.address_map" | "redis.min_replicas_acked")
    };
    let (text, unset) = default_toml();
    let mut settings = Vec::new();
    keys(&serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap(), "", &mut settings);
    let all = settings.into_iter().map(|(key, _)| key).chain(unset).filter(|key| !own(key));
    let mut all: Vec<String> =
        all.map(|key| format!("CHAT_{}", key.to_uppercase().replace('.', "__"))).collect();
    all.sort();
    in_file.sort();
    assert_eq!(in_file, all);
}

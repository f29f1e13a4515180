//! What somebody may write into a file, `.env`, the environment and the command line.
//!
//! Holds: a setting is taken or refused by the name under which it was written; what is printed is taken again and comes to the
//! same; a secret is in nothing that is said, whether the settings are good or not, and however its line is garbled.
#![no_main]

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use chatnode::config::{Config, Flags, Loaded, Problem, Sources, resolve, warnings};
use clap::Parser;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const FILE: &str = "node.toml";

/// Stands in the input where a secret would. Long and visible enough to be taken for a key.
const SECRET: &str = "kAnArY-5f0c91d2e7";

/// Every setting by its dotted key, as the program itself prints them.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let printed = resolve(Sources::default()).unwrap().to_string();
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in printed.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('[') {
            Some(rest) => section = format!("{}.", rest.trim_end_matches(']')),
            None => {
                keys.push(format!("{section}{}", line.trim_start_matches("# ").split(' ').next().unwrap()))
            }
        }
    }
    assert!(keys.len() > 40 && keys.contains(&"redis.url".to_owned()), "{keys:?}");
    keys
});

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    file: Vec<Line<'a>>,
    dot_env: Vec<Line<'a>>,
    environment: Vec<Line<'a>>,
    command_line: Vec<&'a str>,
    redis_url: Option<(&'a str, &'a str)>,
}

/// What one line says.
#[derive(Debug, Arbitrary)]
enum Line<'a> {
    /// Something to a setting.
    Setting(u8, &'a str),
    /// A number to a setting.
    Number(u8, i64),
    /// A good value, so that the settings as a whole come to be judged.
    Good(u8),
    /// A secret key, with something round it.
    AdminKey(&'a str, &'a str),
    /// A secret entry of a list, with something after it.
    ApiKey(&'a str),
    /// A secret URL, with something round it.
    RedisUrl(&'a str, &'a str),
    /// Anything.
    Raw(&'a str),
}

/// Settings of each shape that a node would start with.
const GOOD: [(&str, &str); 8] = [
    ("host", "0.0.0.0"),
    ("node.lease", "20s"),
    ("auth.token_ttl", "7days"),
    ("log.filter", "info,chatnode=debug"),
    ("log.format", "json"),
    ("rooms.default", "日本 %"),
    ("node.name", "a\"#'\\b"),
    ("redis.prefix", "c$1"),
];

impl Line<'_> {
    /// The setting's key and its value; none for what is no setting.
    fn pair(&self) -> Result<(&str, String), &str> {
        let key = |number: &u8| KEYS[usize::from(*number) % KEYS.len()].as_str();
        // A line break would end the line that is meant.
        let flat = |text: &str| text.replace(['\n', '\r', '\0'], " ");
        Ok(match self {
            Line::Setting(number, value) => (key(number), flat(value)),
            Line::Number(number, value) => (key(number), value.to_string()),
            Line::Good(number) => {
                let (key, value) = GOOD[usize::from(*number) % GOOD.len()];
                (key, value.to_owned())
            }
            Line::AdminKey(before, after) => {
                ("auth.admin_key", format!("{}{SECRET}{}", flat(before), flat(after)))
            }
            Line::ApiKey(after) => ("auth.api_keys", format!("bot:read:{SECRET}{}", flat(after))),
            Line::RedisUrl(before, after) => ("redis.url", url(&flat(before), &flat(after))),
            Line::Raw(text) => return Err(text),
        })
    }
}

fn url(before: &str, after: &str) -> String {
    format!("{before}redis://u:{SECRET}@host{after}")
}

fn variable(key: &str) -> String {
    format!("CHAT_{}", key.to_uppercase().replace('.', "__"))
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    flags: Flags,
}

fuzz_target!(|input: Input<'_>| {
    // The fuzzer reads the secret off the comparison with it, and puts it where it is none.
    if format!("{input:?}").contains(SECRET) {
        return;
    }
    let mut sources = Sources::default();
    let mut file = String::new();
    for line in &input.file {
        let _ = match line.pair() {
            // As it is, which is TOML only for numbers and switches, and as a text.
            Ok((key, value)) if value.len() % 2 == 0 => writeln!(file, "{key} = {value}"),
            Ok((key, value)) => writeln!(file, "{key} = {}", toml::Value::String(value)),
            Err(text) => writeln!(file, "{text}"),
        };
    }
    for line in &input.dot_env {
        let _ = match line.pair() {
            Ok((key, value)) => writeln!(sources.dot_env, "{}={value}", variable(key)),
            Err(text) => writeln!(sources.dot_env, "{text}"),
        };
    }
    sources.environment.extend(input.environment.iter().map(|line| match line.pair() {
        Ok((key, value)) => (variable(key).into(), value.into()),
        Err(text) => {
            text.split_once('=').map_or((text.into(), "".into()), |(name, value)| (name.into(), value.into()))
        }
    }));
    if let Ok(Command { flags }) = Command::try_parse_from(["node"].iter().chain(&input.command_line)) {
        sources.flags = flags;
    }
    if let Some((before, after)) = input.redis_url {
        sources.flags.redis_url = Some(url(before, after));
    }
    // A text over several lines that are joined (`\` at a line's end within three quotes) makes one setting of two lines:
    // then a secret is not in the setting that it was meant for.
    let is_joined =
        file.contains("\\\n") || file.contains("\\ ") || file.contains("\\\t") || file.contains("\\\r");
    sources.file = Some((PathBuf::from(FILE), file.clone()));
    let size = file.len() + sources.dot_env.len() + 4 * input.environment.len() * 64;

    let said = match resolve(sources) {
        Ok(loaded) => {
            good(&loaded);
            format!(
                "{loaded}\n{loaded:?}\n{}\n{}",
                loaded.config.store(),
                warnings(&loaded.config).join("\n")
            )
        }
        Err(refused) => {
            assert!(!refused.0.is_empty());
            refused.0.iter().for_each(names_its_setting);
            assert!(refused.0.len() <= 64 + size, "{} problems", refused.0.len());
            format!("{refused}\n{refused:?}")
        }
    };
    assert!(is_joined || !said.contains(SECRET), "{said}");
});

/// The error names the place in the source.
fn names_its_setting(problem: &Problem) {
    let Problem { subject, what } = problem;
    let is_line = subject.starts_with(&format!("{FILE} line ")) || subject.starts_with(".env");
    let source = [" in node.toml", " in .env", " in the environment", " on the command line", " (the default)"]
        .into_iter()
        .find_map(|source| subject.strip_suffix(source));
    assert!(is_line || source.is_some_and(|written| !written.is_empty()), "{subject}: {what}");
    assert!(!what.is_empty());
    // No setting may be so bad that only the whole of them is to blame.
    assert_ne!(subject, "settings");
}

/// What is printed, is taken again and comes to the same, secrets apart.
fn good(loaded: &Loaded) {
    let mut wanted = shown(&loaded.config);
    let is_secret = |line: &str| ["admin_key = ", "api_keys = ", "url = "].iter().any(|key| line.starts_with(key));
    let printed: Vec<String> =
        loaded.to_string().lines().filter(|line| !is_secret(line)).map(str::to_owned).collect();
    let text = printed.join("\n");
    let again = resolve(Sources { file: Some((FILE.into(), text.clone())), ..Sources::default() });
    let again = again.unwrap_or_else(|refused| panic!("{refused}\n{text}"));
    wanted["auth"]["admin_key"] = Value::Null;
    wanted["auth"]["api_keys"] = Value::Array(Vec::new());
    wanted["redis"]["url"] = Value::Null;
    assert_eq!(shown(&again.config), wanted, "{text}");
}

fn shown(config: &Config) -> Value {
    serde_json::to_value(config).unwrap()
}

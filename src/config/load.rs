//! Loading: from the sources to the settings. Owns which source wins, and reports the errors of all sources at once;
//! the providers read and check single values, `config::validate` checks the settings together. Called once by the
//! command, before anything is opened.

use std::collections::BTreeMap;

use super::Config;
use super::args::Flags;
use super::dot_env;
use super::host;
use super::problem::{Problem, Refused};
use super::providers::{self, Assignment};
use super::sources::Sources;
use super::validate;

/// The error for a value that fits the schema and not its field. A test tries the bounds of every setting.
const SCHEMA_BUG: &str = "can't be read, although it was found to be valid: please report this error";

/// The source of each setting that is not a default, by its dotted key.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<&'static str, String>);

impl Origins {
    /// The name that the user wrote, and the source it is in; `None` for a default.
    pub fn of(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// The settings, with the source of each.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The source of each.
    pub origins: Origins,
}

/// Reads the settings: the defaults, the file of `--config`, `.env` in the working directory, the environment, the
/// flags. A later source overrides an earlier one.
pub fn load(flags: &Flags) -> Result<Loaded, Refused> {
    resolve(Sources::read(flags))
}

/// The settings that result from these sources. Reads and changes nothing else, except that `.env` may refer to
/// variables of the process with `$`.
pub fn resolve(sources: Sources) -> Result<Loaded, Refused> {
    let Sources { file, dot_env, environment, flags, unreadable } = sources;
    let all_parsed = [
        file.map(|(path, text)| providers::file(&path, &text)).unwrap_or_default(),
        dot_env::read(&dot_env),
        providers::environment(environment),
        providers::command_line(&flags),
    ];
    let mut problems = unreadable;
    let mut builder = config::Config::builder();
    let mut origins = Origins::default();
    for parsed in all_parsed {
        problems.extend(parsed.problems);
        for Assignment { setting, origin, value } in parsed.assignments {
            origins.0.insert(setting.key, origin);
            builder = match builder.set_override(setting.key, value) {
                Ok(builder) => builder,
                Err(_) => return Err(Refused(vec![Problem::new(setting.key, SCHEMA_BUG)])),
            };
        }
    }
    let Ok(mut config) = builder.build().and_then(config::Config::try_deserialize::<Config>) else {
        problems.push(Problem::new("settings", SCHEMA_BUG));
        return Err(Refused(problems));
    };
    for host in [&mut config.host, &mut config.internal.host] {
        strip_brackets(host);
    }
    problems.extend(validate::problems(&config).into_iter().map(|(key, what)| {
        let subject = origins.of(key).map_or_else(|| format!("{key} (the default)"), str::to_owned);
        Problem::new(subject, what)
    }));
    if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(Refused(problems)) }
}

/// People write an IPv6 address as in a URL, `[::1]`; only the address itself can be listened on.
fn strip_brackets(host: &mut String) {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = address.filter(|address| host::is_ipv6(address)) {
        *host = address.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::SETTINGS;
    use super::super::shape::Shape;
    use super::*;

    fn refused(sources: Sources) -> String {
        resolve(sources).unwrap_err().to_string()
    }

    #[test]
    fn bounds_of_every_setting_fit_its_field() {
        for setting in &SETTINGS {
            let values: Vec<String> = match setting.shape {
                Shape::Number(least, most) => vec![least.to_string(), most.to_string()],
                Shape::Duration(least, most) => vec![least.into(), most.into()],
                Shape::Word(words) => words.iter().map(|&word| word.into()).collect(),
                Shape::Networks => vec!["10.0.0.0/8, fd00::/8".into()],
                Shape::Text | Shape::Texts | Shape::Switch => vec!["true".into()],
            };
            for value in values {
                let name = format!("CHAT_{}", setting.key.to_uppercase().replace('.', "__"));
                let environment = vec![(name.into(), value.into())];
                // A value may violate the rules of `validate`, but not the types of the settings.
                if let Err(refused) = resolve(Sources { environment, ..Sources::default() }) {
                    assert!(!refused.to_string().contains(SCHEMA_BUG), "{}: {refused}", setting.key);
                }
            }
        }
    }

    #[test]
    fn ipv6_host_may_have_brackets() {
        for (written, host) in [("::1", "::1"), ("[::1]", "::1"), ("[fe80::1%eth0]", "fe80::1%eth0")] {
            let environment =
                vec![("CHAT_HOST".into(), written.into()), ("CHAT_INTERNAL__HOST".into(), written.into())];
            let config = resolve(Sources { environment, ..Sources::default() }).unwrap().config;
            assert_eq!((config.host.as_str(), config.internal.host.as_str()), (host, host), "{written}");
        }
        for written in ["[::1", "::1]", "[127.0.0.1]", "[::1]:8080", "127.0.0.1:8080", "1::2::3", "[]"] {
            let environment = vec![("CHAT_HOST".into(), written.into())];
            let said = refused(Sources { environment, ..Sources::default() });
            assert!(said.ends_with("must be an IP address or a host name, without a port"), "{said}");
        }
    }

    #[test]
    fn error_hides_a_secret_behind_a_stray_quote() {
        for text in [
            "port = \"\"\"8080\nauth.admin_key = 0123456789abcdef\"\"\"",
            "server.allowed_origins = [\'\'\'https://x\nauth.admin_key = 0123456789abcdef\'\'\']",
        ] {
            let errors = refused(Sources { file: Some(("f".into(), text.into())), ..Sources::default() });
            assert!(errors.ends_with(" in f: must be one line: is a quote missing?"), "{errors}");
        }
    }

    #[test]
    fn printed_settings_are_toml_with_any_text() {
        let filter = "a\u{7f}\"\\\u{85}#=off";
        let environment = vec![("CHAT_LOG__FILTER".into(), filter.into())];
        let printed = resolve(Sources { environment, ..Sources::default() }).unwrap().to_string();
        let again = resolve(Sources { file: Some(("f".into(), printed)), ..Sources::default() }).unwrap();
        assert_eq!(again.config.log.filter, filter);
    }
}

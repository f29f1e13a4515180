//! The settings, by every door they come in by, through the real command.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use chatnode::config::Config;
use tempfile::TempDir;

/// A working directory for the command, with an environment that holds nothing of ours.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn with(self, name: &str, text: &str) -> Self {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    fn run(&self, environment: &[(&str, &str)], args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_chatnode"))
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// What `config check` complains of: exit code 2 and these lines, each of them whole.
    #[track_caller]
    fn refuses(&self, environment: &[(&str, &str)], args: &[&str], complaints: &[&str]) {
        let output = self.run(environment, &[&["config", "check"], args].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = said.lines().map(|line| line.trim_start_matches("chatnode: ")).collect();
        assert_eq!(lines, complaints);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
    }

    /// The line of `config print` that holds a setting.
    #[track_caller]
    fn prints(&self, environment: &[(&str, &str)], args: &[&str], line: &str) {
        let output = self.run(environment, &[&["config", "print"], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.lines().any(|printed| printed == line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn later_doors_win() {
    let place = Place::new().with("node.toml", "port = 1\nhost = \"10.0.0.1\"\n");
    place.prints(&[], &[], "port = 8080");
    place.prints(&[], &["--config", "node.toml"], "port = 1 # port in node.toml");
    let place = place.with(".env", "CHAT_PORT=2\nCHAT_LIMITS__BURST=20\nOTHER=x\n");
    let file = ["--config", "node.toml"];
    place.prints(&[], &file, "port = 2 # CHAT_PORT in .env");
    place.prints(&[("CHAT_PORT", "3")], &file, "port = 3 # CHAT_PORT in the environment");
    let flags = ["--config", "node.toml", "--port", "4"];
    place.prints(&[("CHAT_PORT", "3")], &flags, "port = 4 # --port on the command line");
    place.prints(&[("CHAT_PORT", "3")], &flags, "host = \"10.0.0.1\" # host in node.toml");
    place.prints(&[("CHAT_PORT", "3")], &flags, "burst = 20 # CHAT_LIMITS__BURST in .env");
}

#[test]
fn every_shape_of_value_comes_in_by_the_environment() {
    let place = Place::new();
    let environment = [
        ("CHAT_SERVER__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
        ("CHAT_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8"),
        ("CHAT_HISTORY__MAX_AGE", "1h 30m"),
        ("CHAT_AUTH__ENABLED", "yes"),
        ("CHAT_NODE__NAME", "007"),
        ("CHAT_LOG__FORMAT", "json"),
        ("CHAT_INTERNAL__PORT", "9090"),
    ];
    for line in [
        r#"allowed_origins = ["https://a.example","https://b.example"] # CHAT_SERVER__ALLOWED_ORIGINS in the environment"#,
        r#"trusted_proxies = ["10.0.0.0/8","fd00::/8"] # CHAT_SERVER__TRUSTED_PROXIES in the environment"#,
        r#"max_age = "1h 30m" # CHAT_HISTORY__MAX_AGE in the environment"#,
        "enabled = true # CHAT_AUTH__ENABLED in the environment",
        r#"name = "007" # CHAT_NODE__NAME in the environment"#,
        r#"format = "json" # CHAT_LOG__FORMAT in the environment"#,
        "port = 9090 # CHAT_INTERNAL__PORT in the environment",
    ] {
        place.prints(&environment, &[], line);
    }
}

#[test]
fn an_empty_variable_unsets_what_may_be_unset() {
    let place =
        Place::new().with("node.toml", "[redis]\nurl = \"redis://h\"\n[server]\nallowed_origins = [\"*\"]\n");
    let empty = [("CHAT_REDIS__URL", ""), ("CHAT_SERVER__ALLOWED_ORIGINS", "")];
    let file = ["--config", "node.toml"];
    place.prints(&empty, &file, "# url is not set # CHAT_REDIS__URL in the environment");
    place.prints(&empty, &file, "allowed_origins = [] # CHAT_SERVER__ALLOWED_ORIGINS in the environment");
    place.refuses(&[("CHAT_PORT", "")], &[], &["CHAT_PORT in the environment: must not be empty"]);
}

#[test]
fn auth_is_a_flag_with_or_without_a_value() {
    let place = Place::new();
    let on = "enabled = true # --auth on the command line";
    place.prints(&[], &["--auth"], on);
    place.prints(&[], &["--auth=true"], on);
    let off = "enabled = false # --auth on the command line";
    place.prints(&[("CHAT_AUTH__ENABLED", "true")], &["--auth=false"], off);
    place.refuses(&[], &["--auth=maybe"], &["--auth on the command line: must be true or false, not maybe"]);
}

#[test]
fn unknown_keys_are_refused_at_every_door() {
    let place = Place::new()
        .with("node.toml", "prot = 1\n[limits]\nburts = 1\n[limts]\nburst = 5\n[nonsense]\n[port]\nx = 1\n")
        .with(".env", "CHAT_REDIS_URL=redis://h\nCHAT_auth__enabled=true\n");
    let environment = [("CHAT_LIMITS__BURTS", "1"), ("CHAT_WHATEVER", "1"), ("CHATTER", "not ours")];
    let output = place.run(&environment, &["config", "check", "--config", "node.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    for complaint in [
        "prot in node.toml: unknown; did you mean port?",
        "limits.burts in node.toml: unknown; did you mean limits.burst?",
        "limts.burst in node.toml: unknown; did you mean limits.burst?",
        "nonsense in node.toml: unknown; `chatnode config print` lists all",
        "port in node.toml: must be a whole number, not table",
        "CHAT_REDIS_URL in .env: unknown; did you mean CHAT_REDIS__URL?",
        "CHAT_auth__enabled in .env: unknown; did you mean CHAT_AUTH__ENABLED?",
        "CHAT_LIMITS__BURTS in the environment: unknown; did you mean CHAT_LIMITS__BURST?",
        "CHAT_WHATEVER in the environment: unknown; `chatnode config print` lists all",
    ] {
        assert!(
            said.lines().any(|line| line == format!("chatnode: {complaint}")),
            "{complaint:?} is not in\n{said}"
        );
    }
    assert_eq!(said.lines().count(), 9, "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn bad_values_are_refused_at_every_door() {
    let place = Place::new()
        .with(
            "node.toml",
            "port = true\nmax_connections = 1.5\nhost = 5\n[auth]\nenabled = \"yes\"\ntoken_ttl = \"soon\"\n",
        )
        .with(".env", "CHAT_LOG__FORMAT=xml\n");
    let environment = [("CHAT_SERVER__TRUSTED_PROXIES", "10.0.0.0/99"), ("CHAT_MAX_CONNECTIONS", "-1")];
    place.refuses(
        &environment,
        &["--config", "node.toml", "--port", "70000", "--internal-port", "http"],
        &[
            "auth.enabled in node.toml: must be true or false, not \"yes\"",
            "host in node.toml: must be a text in quotes, not 5",
            "max_connections in node.toml: must be a whole number, not 1.5",
            "port in node.toml: must be a whole number, not true",
            "auth.token_ttl in node.toml: must be a duration such as 250ms, 10s or 24h (invalid value: string \"soon\")",
            "CHAT_LOG__FORMAT in .env: must be text or json, not xml",
            "CHAT_MAX_CONNECTIONS in the environment: must be 0 or more, not -1",
            "CHAT_SERVER__TRUSTED_PROXIES in the environment: invalid IP address syntax",
            "--internal-port on the command line: must be a whole number, not http",
            "--port on the command line: must be 0 to 65535, not 70000",
        ],
    );
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    let place = Place::new();
    for (environment, complaint) in [
        (
            ("CHAT_REDIS__URL", "127.0.0.1:6379"),
            "CHAT_REDIS__URL in the environment: must be redis://[[user]:password@]host[:port][/db]",
        ),
        (
            ("CHAT_REDIS__URL", "rediss://127.0.0.1"),
            "CHAT_REDIS__URL in the environment: asks for TLS, which this build does not have",
        ),
        (
            ("CHAT_LIMITS__MAX_CONTENT_BYTES", "100000"),
            "limits.max_frame_bytes (the default): must be at least 6 × limits.max_content_bytes + 4096 = 604096, \
             since JSON may spell one byte as six; not 131072",
        ),
        (
            ("CHAT_NODE__HEARTBEAT", "15s"),
            "CHAT_NODE__HEARTBEAT in the environment: must be shorter than node.lease",
        ),
        (
            ("CHAT_SERVER__PONG_TIMEOUT", "5s"),
            "CHAT_SERVER__PONG_TIMEOUT in the environment: must be longer than limits.request_timeout, or a slow \
             request costs the connection",
        ),
        (
            ("CHAT_INTERNAL__PORT", "8080"),
            "CHAT_INTERNAL__PORT in the environment: must differ from port; leave it unset to answer on that one",
        ),
        (
            ("CHAT_HISTORY__EMBEDDED_BYTES", "4194303"),
            "CHAT_HISTORY__EMBEDDED_BYTES in the environment: must be at least history.max_bytes",
        ),
        (
            ("CHAT_DRAIN__SPREAD", "31s"),
            "drain.timeout (the default): must be at least drain.spread, or the node exits with clients left",
        ),
        (
            ("CHAT_MAX_CONNECTIONS", "0"),
            "CHAT_MAX_CONNECTIONS in the environment: must be 1 to 10000000, not 0",
        ),
        (("CHAT_LIMITS__BURST", "4"), "CHAT_LIMITS__BURST in the environment: must be 5 to 10000000, not 4"),
        (
            ("CHAT_REDIS__PREFIX", "a{b}"),
            "CHAT_REDIS__PREFIX in the environment: must be 1 to 64 visible ASCII characters without braces",
        ),
        (
            ("CHAT_ROOMS__DEFAULT", "a\u{7}b"),
            "CHAT_ROOMS__DEFAULT in the environment: must not contain U+0007, which can't be seen",
        ),
        (
            ("CHAT_SERVER__ALLOWED_ORIGINS", "chat.example.com"),
            "CHAT_SERVER__ALLOWED_ORIGINS in the environment: \"chat.example.com\" must be `*` or an origin such as \
             https://chat.example.com",
        ),
        (
            ("CHAT_LIMITS__WRITE_TIMEOUT", "0s"),
            "CHAT_LIMITS__WRITE_TIMEOUT in the environment: must be 10ms to 10m, not 0s",
        ),
        (
            ("CHAT_ROOMS__READ_ONLY", "news, a\u{0007}b"),
            "CHAT_ROOMS__READ_ONLY in the environment: has \"a\\u{7}b\", which must not contain U+0007, which can't be seen",
        ),
        (
            ("CHAT_AUTH__ADMIN_KEY", "short"),
            "CHAT_AUTH__ADMIN_KEY in the environment: must have at least 16 characters",
        ),
    ] {
        place.refuses(&[environment], &[], &[complaint]);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new().with("bad.toml", "port = 1\n[auth\n");
    let said = place.run(&[], &["config", "check", "--config", "absent.toml"]).stderr;
    assert!(String::from_utf8(said).unwrap().starts_with("chatnode: absent.toml: can't be read: "));
    let said = place.run(&[], &["config", "check", "--config", "bad.toml"]).stderr;
    assert!(String::from_utf8(said).unwrap().starts_with("chatnode: bad.toml line 2: not TOML: "));
}

#[test]
fn what_kubernetes_injects_is_explained() {
    let injected = [
        ("CHAT_PORT", "tcp://10.0.0.1:8080"),
        ("CHAT_SERVICE_HOST", "10.0.0.1"),
        ("CHAT_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    Place::new().refuses(
        &injected,
        &[],
        &["CHAT_PORT, CHAT_PORT_8080_TCP_ADDR, CHAT_SERVICE_HOST in the environment: set by Kubernetes for a Service \
           whose name begins with `chat`, not by you; set `enableServiceLinks: false` in the pod's spec, or rename the \
           Service"],
    );
}

#[test]
fn secrets_are_never_printed() {
    const SECRET: &str = "Zq8-hush-hush-5Yw2";
    let url = format!("redis://user:{SECRET}@10.0.0.7:6379/1?pass={SECRET}");
    let good = [("CHAT_AUTH__ADMIN_KEY", SECRET), ("CHAT_REDIS__URL", url.as_str())];
    let place = Place::new();
    place.prints(&good, &[], "admin_key = \"***\" # CHAT_AUTH__ADMIN_KEY in the environment");
    place.prints(
        &good,
        &[],
        "url = \"redis://***@10.0.0.7:6379/1?***\" # CHAT_REDIS__URL in the environment",
    );

    let unfit = format!("{SECRET} \u{7}");
    let spoilt_line = format!("CHAT_AUTH__ADMIN_KEY={SECRET} {SECRET}");
    let toml = |text: &str| text.replace("SECRET", SECRET);
    for (name, text) in [
        ("node.toml", toml("[auth]\nadmin_key = \"SECRET\n")),
        ("node.toml", toml("[auth]\nadmin_key = [\"SECRET\"]\n")),
        ("node.toml", toml("[auth]\nadmin_kye = \"SECRET\"\n")),
        ("node.toml", toml("[auth]\nadmin_key = 'SECRET \u{20}'\n")),
        ("node.toml", toml("[redis]\nurl = 'SECRET'\n")),
        ("node.toml", toml("redis = 'redis://:SECRET@h'\n")),
        (".env", spoilt_line),
    ] {
        let place = Place::new().with("node.toml", "").with(name, &text);
        let output = place.run(&[], &["config", "check", "--config", "node.toml"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.is_empty() && !said.contains(SECRET), "{said}");
    }
    for bad in
        [("CHAT_AUTH__ADMIN_KEY", unfit.as_str()), ("CHAT_REDIS__URL", SECRET), ("CHAT_ADMIN_KEY", SECRET)]
    {
        let output = place.run(&[bad], &["config", "check"]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(bad.0) && !said.contains(SECRET), "{said}");
    }
}

#[test]
fn a_line_of_dot_env_that_makes_no_sense_is_named() {
    let place = Place::new().with(".env", "# a comment\nCHAT_PORT=1\nCHAT_HOST=a b\n");
    let complaint =
        ".env line 3: not NAME=value; a value with spaces, quotes, # or $ stands in single quotes";
    place.refuses(&[], &[], &[complaint]);
}

#[test]
fn what_is_printed_can_be_read_again() {
    let place = Place::new();
    let printed = place.run(&[("CHAT_LIMITS__BURST", "77")], &["config", "print"]).stdout;
    let place = place.with("printed.toml", &String::from_utf8(printed).unwrap());
    place.prints(&[], &["--config", "printed.toml"], "burst = 77 # limits.burst in printed.toml");
}

/// The file with the keys that are unset by default written out; they stand there as `# key = …`.
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
fn the_default_file_is_the_defaults() {
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
    assert_eq!(unset, names(expected_unset), "keys that are unset, as comments");
}

#[test]
fn the_files_that_come_along_are_good() {
    let place = Place::new();
    for name in ["default.toml", "cluster.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let output = place.run(&[], &["config", "check", "--config", path.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_settings_page_lists_every_setting_with_its_default() {
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
    assert_eq!(page.matches("\n| `").count(), rows.len(), "docs/settings.md has rows of no setting");
}

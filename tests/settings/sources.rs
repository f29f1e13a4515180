//! The sources of settings: flags, environment, `.env` and files. Covers their order, their values, and the errors of
//! each.

use crate::work_dir::WorkDir;

#[test]
fn later_sources_override_earlier_ones() {
    let dir = WorkDir::new().with("node.toml", "port = 1\nhost = \"10.0.0.1\"\n");
    dir.prints(&[], &[], "port = 8080");
    dir.prints(&[], &["--config", "node.toml"], "port = 1 # port in node.toml");
    let dir = dir.with(".env", "CHAT_PORT=2\nCHAT_LIMITS__BURST=20\nOTHER=x\n");
    let file = ["--config", "node.toml"];
    dir.prints(&[], &file, "port = 2 # CHAT_PORT in .env");
    dir.prints(&[("CHAT_PORT", "3")], &file, "port = 3 # CHAT_PORT in the environment");
    let flags = ["--config", "node.toml", "--port", "4"];
    dir.prints(&[("CHAT_PORT", "3")], &flags, "port = 4 # --port on the command line");
    dir.prints(&[("CHAT_PORT", "3")], &flags, "host = \"10.0.0.1\" # host in node.toml");
    dir.prints(&[("CHAT_PORT", "3")], &flags, "burst = 20 # CHAT_LIMITS__BURST in .env");
}

#[test]
fn environment_accepts_every_shape_of_value() {
    let dir = WorkDir::new();
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
        dir.prints(&environment, &[], line);
    }
}

#[test]
fn empty_variable_unsets_an_optional_setting() {
    let dir = WorkDir::new()
        .with("node.toml", "[redis]\nurl = \"redis://h\"\n[server]\nallowed_origins = [\"*\"]\n");
    let empty = [("CHAT_REDIS__URL", ""), ("CHAT_SERVER__ALLOWED_ORIGINS", "")];
    let file = ["--config", "node.toml"];
    dir.prints(&empty, &file, "# url is not set # CHAT_REDIS__URL in the environment");
    dir.prints(&empty, &file, "allowed_origins = [] # CHAT_SERVER__ALLOWED_ORIGINS in the environment");
    dir.refuses(&[("CHAT_PORT", "")], &[], &["CHAT_PORT in the environment: must not be empty"]);
}

#[test]
fn auth_flag_works_with_and_without_a_value() {
    let dir = WorkDir::new();
    let on = "enabled = true # --auth on the command line";
    dir.prints(&[], &["--auth"], on);
    dir.prints(&[], &["--auth=true"], on);
    let off = "enabled = false # --auth on the command line";
    dir.prints(&[("CHAT_AUTH__ENABLED", "true")], &["--auth=false"], off);
    dir.refuses(&[], &["--auth=maybe"], &["--auth on the command line: must be true or false, not maybe"]);
}

#[test]
fn every_source_refuses_unknown_keys() {
    let dir = WorkDir::new()
        .with("node.toml", "prot = 1\n[limits]\nburts = 1\n[limts]\nburst = 5\n[nonsense]\n[port]\nx = 1\n")
        .with(".env", "CHAT_REDIS_URL=redis://h\nCHAT_auth__enabled=true\n");
    let environment = [("CHAT_LIMITS__BURTS", "1"), ("CHAT_WHATEVER", "1"), ("CHATTER", "not ours")];
    let output = dir.run(&environment, &["config", "check", "--config", "node.toml"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    for error in [
        "prot in node.toml: unknown; did you mean port?",
        "limits.burts in node.toml: unknown; did you mean limits.burst?",
        "limts.burst in node.toml: unknown; did you mean limits.burst?",
        "nonsense in node.toml: unknown; `chatnode config print` lists all settings",
        "port in node.toml: must be a whole number from 0 to 65535, not a section",
        "CHAT_REDIS_URL in .env: unknown; did you mean CHAT_REDIS__URL?",
        "CHAT_auth__enabled in .env: unknown; did you mean CHAT_AUTH__ENABLED?",
        "CHAT_LIMITS__BURTS in the environment: unknown; did you mean CHAT_LIMITS__BURST?",
        "CHAT_WHATEVER in the environment: unknown; `chatnode config print` lists all settings",
    ] {
        assert!(
            stderr.lines().any(|line| line == format!("chatnode: {error}")),
            "{error:?} is not in\n{stderr}"
        );
    }
    assert_eq!(stderr.lines().count(), 9, "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn every_source_refuses_invalid_values() {
    let dir = WorkDir::new()
        .with(
            "node.toml",
            "port = true\nmax_connections = 1.5\nhost = 5\n[auth]\nenabled = \"yes\"\ntoken_ttl = \"soon\"\n",
        )
        .with(".env", "CHAT_LOG__FORMAT=xml\n");
    let environment = [("CHAT_SERVER__TRUSTED_PROXIES", "10.0.0.0/99"), ("CHAT_MAX_CONNECTIONS", "-1")];
    dir.refuses(
        &environment,
        &["--config", "node.toml", "--port", "70000", "--internal-port", "http"],
        &[
            "auth.enabled in node.toml: must be true or false, not \"yes\"",
            "auth.token_ttl in node.toml: must be a duration from 1s to 366days, such as \"10s\", not \"soon\"",
            "host in node.toml: must be a text in quotes, not 5",
            "max_connections in node.toml: must be a whole number from 1 to 10000000, not 1.5",
            "port in node.toml: must be a whole number from 0 to 65535, not true",
            "CHAT_LOG__FORMAT in .env: must be text or json, not xml",
            "CHAT_MAX_CONNECTIONS in the environment: must be a whole number from 1 to 10000000, not -1",
            "CHAT_SERVER__TRUSTED_PROXIES in the environment: must be a list of networks such as \"10.0.0.0/8\", not 10.0.0.0/99",
            "--port on the command line: must be a whole number from 0 to 65535, not 70000",
            "--internal-port on the command line: must be a whole number from 0 to 65535, not http",
        ],
    );
}

#[test]
fn check_refuses_settings_that_contradict_each_other() {
    let dir = WorkDir::new();
    for (environment, error) in [
        (
            ("CHAT_REDIS__URL", "127.0.0.1:6379"),
            "CHAT_REDIS__URL in the environment: must have the form redis://[[user]:password@]host[:port][/db], \
             rediss://… for TLS, or redis+unix:///path/to/socket[?db=1&user=…&pass=…]; several addresses have commas in \
             between, as in redis://a:26379,b:26379/0",
        ),
        (
            ("CHAT_REDIS__URL", "redis://10.0.0.1:6379,10.0.0.2:6379/1"),
            "CHAT_REDIS__URL in the environment: has several addresses, so it leads to a Redis Cluster, which has only database \
             0: remove the number of the database. If the addresses are those of Sentinels, set redis.sentinel_master to the name of \
             the master",
        ),
        (
            ("CHAT_REDIS__SENTINEL_MASTER", "main"),
            "CHAT_REDIS__SENTINEL_MASTER in the environment: needs redis.url with the addresses of the Sentinels, such \
             as redis://a:26379,b:26379,c:26379",
        ),
        (
            ("CHAT_REDIS__URL", "redis://:p@ss@127.0.0.1"),
            "CHAT_REDIS__URL in the environment: has a user or password with special characters: percent-encode them (% is \
             %25, @ is %40, : is %3A, / is %2F, ? is %3F, # is %23), or set redis.username and redis.password",
        ),
        (
            ("CHAT_REDIS__URL", "rediss://127.0.0.1#insecure"),
            "CHAT_REDIS__URL in the environment: must not end with #insecure: certificates are always checked. Set \
             redis.tls.ca_file to the authority that signed the server's",
        ),
        (
            ("CHAT_REDIS__URL", "redis://127.0.0.1?protocol=resp2"),
            "CHAT_REDIS__URL in the environment: must not choose the protocol: chatnode needs RESP3",
        ),
        (
            ("CHAT_LIMITS__MAX_CONTENT_BYTES", "100000"),
            "limits.max_frame_bytes (the default): must be at least 6 × limits.max_content_bytes + 4096 = 604096 \
             (JSON can escape one byte as six), not 131072",
        ),
        (
            ("CHAT_NODE__HEARTBEAT", "15s"),
            "CHAT_NODE__HEARTBEAT in the environment: must be shorter than node.lease",
        ),
        (
            ("CHAT_SERVER__PONG_TIMEOUT", "5s"),
            "CHAT_SERVER__PONG_TIMEOUT in the environment: must be longer than limits.request_timeout, or a slow \
             request closes the connection",
        ),
        (
            ("CHAT_INTERNAL__PORT", "8080"),
            "CHAT_INTERNAL__PORT in the environment: must differ from port; to use one port for both, leave \
             internal.port unset",
        ),
        (
            ("CHAT_HISTORY__EMBEDDED_BYTES", "4194303"),
            "CHAT_HISTORY__EMBEDDED_BYTES in the environment: must be at least history.max_bytes",
        ),
        (
            ("CHAT_DRAIN__SPREAD", "31s"),
            "drain.timeout (the default): must be at least drain.spread, or the node exits before all clients are closed",
        ),
        (
            ("CHAT_MAX_CONNECTIONS", "0"),
            "CHAT_MAX_CONNECTIONS in the environment: must be a whole number from 1 to 10000000, not 0",
        ),
        (
            ("CHAT_LIMITS__BURST", "4"),
            "CHAT_LIMITS__BURST in the environment: must be a whole number from 5 to 10000000, not 4",
        ),
        (
            ("CHAT_REDIS__PREFIX", "a{b}"),
            "CHAT_REDIS__PREFIX in the environment: must consist of 1 to 64 visible ASCII characters without braces",
        ),
        (
            ("CHAT_ROOMS__DEFAULT", "a\u{7}b"),
            "CHAT_ROOMS__DEFAULT in the environment: must not contain U+0007, which can't be seen",
        ),
        (
            ("CHAT_SERVER__ALLOWED_ORIGINS", "chat.example.com"),
            "CHAT_SERVER__ALLOWED_ORIGINS in the environment: \"chat.example.com\" is neither `*` nor an origin such \
             as https://chat.example.com",
        ),
        (
            ("CHAT_LIMITS__WRITE_TIMEOUT", "0s"),
            "CHAT_LIMITS__WRITE_TIMEOUT in the environment: must be a duration from 10ms to 10m, such as \"10s\", not 0s",
        ),
        (
            ("CHAT_ROOMS__READ_ONLY", "news, a\u{0007}b"),
            "CHAT_ROOMS__READ_ONLY in the environment: \"a\\u{7}b\" must not contain U+0007, which can't be seen",
        ),
        (
            ("CHAT_AUTH__ADMIN_KEY", "short"),
            "CHAT_AUTH__ADMIN_KEY in the environment: must have at least 16 characters",
        ),
    ] {
        dir.refuses(&[environment], &[], &[error]);
    }
}

#[test]
fn error_names_the_unreadable_file() {
    let dir = WorkDir::new().with("bad.toml", "port = 1\n[auth\n");
    let stderr = dir.run(&[], &["config", "check", "--config", "absent.toml"]).stderr;
    assert!(String::from_utf8(stderr).unwrap().starts_with("chatnode: absent.toml: can't be read: "));
    let stderr = dir.run(&[], &["config", "check", "--config", "bad.toml"]).stderr;
    assert!(String::from_utf8(stderr).unwrap().starts_with("chatnode: bad.toml line 2: invalid TOML: "));
}

#[test]
fn error_explains_kubernetes_service_links() {
    let injected = [
        ("CHAT_PORT", "tcp://10.0.0.1:8080"),
        ("CHAT_SERVICE_HOST", "10.0.0.1"),
        ("CHAT_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    WorkDir::new().refuses(
        &injected,
        &[],
        &["CHAT_PORT, CHAT_PORT_8080_TCP_ADDR, CHAT_SERVICE_HOST in the environment: set by Kubernetes for a Service \
           whose name begins with `chat`, not by you; set `enableServiceLinks: false` in the pod's spec, or rename the \
           Service"],
    );
}

#[test]
fn check_refuses_access_to_redis_that_contradicts_itself() {
    let dir = WorkDir::new();
    let (plain, tls) = (("CHAT_REDIS__URL", "redis://h"), ("CHAT_REDIS__URL", "rediss://h"));
    for (url, more, error) in [
        (
            plain,
            ("CHAT_REDIS__TLS__CA_FILE", "ca.pem"),
            "CHAT_REDIS__TLS__CA_FILE in the environment: is used only with TLS: redis.url must begin with rediss://",
        ),
        (
            tls,
            ("CHAT_REDIS__TLS__CERT_FILE", "node.pem"),
            "CHAT_REDIS__TLS__CERT_FILE in the environment: needs redis.tls.key_file, the private key of this certificate",
        ),
        (
            tls,
            ("CHAT_REDIS__TLS__KEY_FILE", "node.pem"),
            "CHAT_REDIS__TLS__KEY_FILE in the environment: needs redis.tls.cert_file, the certificate of this key",
        ),
        (
            plain,
            ("CHAT_REDIS__USERNAME", "chat"),
            "CHAT_REDIS__USERNAME in the environment: names a user, so a password is needed: set redis.password or \
             redis.password_file",
        ),
    ] {
        dir.refuses(&[url, more], &[], &[error]);
    }
    let both = [plain, ("CHAT_REDIS__PASSWORD", "a"), ("CHAT_REDIS__PASSWORD_FILE", "b")];
    dir.refuses(&both, &[], &[
        "CHAT_REDIS__PASSWORD_FILE in the environment: must be unset if redis.password is set: only one of them can be right",
    ]);
}

#[test]
fn output_never_contains_secrets() {
    const SECRET: &str = "Zq8-hush-hush-5Yw2";
    let url = format!("redis://user:{SECRET}@10.0.0.7:6379/1");
    let keys = format!("shop:tokens+read:20/s:{SECRET}-1,bot:publish:{SECRET}-2");
    let good = [
        ("CHAT_AUTH__ADMIN_KEY", SECRET),
        ("CHAT_AUTH__API_KEYS", keys.as_str()),
        ("CHAT_REDIS__URL", url.as_str()),
        ("CHAT_REDIS__PASSWORD", SECRET),
    ];
    let dir = WorkDir::new();
    dir.prints(&good, &[], "admin_key = \"***\" # CHAT_AUTH__ADMIN_KEY in the environment");
    let printed = "api_keys = [\"shop:tokens+read:20/s:***\",\"bot:publish:***\"] # CHAT_AUTH__API_KEYS in the environment";
    dir.prints(&good, &[], printed);
    dir.prints(&good, &[], "url = \"redis://***@10.0.0.7:6379/1\" # CHAT_REDIS__URL in the environment");
    dir.prints(&good, &[], "password = \"***\" # CHAT_REDIS__PASSWORD in the environment");
    let socket = format!("redis+unix:///run/r.sock?pass={SECRET}");
    let socket = [("CHAT_REDIS__URL", socket.as_str())];
    dir.prints(&socket, &[], "url = \"redis+unix:///run/r.sock?***\" # CHAT_REDIS__URL in the environment");

    let unfit = format!("{SECRET} \u{7}");
    let spoilt_line = format!("CHAT_AUTH__ADMIN_KEY={SECRET} {SECRET}");
    let toml = |text: &str| text.replace("SECRET", SECRET);
    for (name, text) in [
        ("node.toml", toml("[auth]\nadmin_key = \"SECRET\n")),
        ("node.toml", toml("[auth]\nadmin_key = [\"SECRET\"]\n")),
        ("node.toml", toml("[auth]\napi_keys = \"bot:read:SECRET\"\n")),
        ("node.toml", toml("[auth]\napi_keys = [\"SECRET\"]\n")),
        ("node.toml", toml("[auth]\napi_keys = [\"bot:SECRET:read\"]\n")),
        ("node.toml", toml("[auth]\napi_keys = [\"SECRET:reed:bot\"]\n")),
        ("node.toml", toml("[auth]\napi_keys = [\"bot:read:SECRET SECRET\"]\n")),
        ("node.toml", toml("[auth]\napi_keys = [\"bot:read:SECRET\", \"shop:read:SECRET\"]\n")),
        ("node.toml", toml("[auth]\napi_key = [\"bot:read:SECRET\"]\n")),
        ("node.toml", toml("[auth]\nadmin_kye = \"SECRET\"\n")),
        ("node.toml", toml("[auth]\nadmin_key = 'SECRET \u{20}'\n")),
        ("node.toml", toml("[redis]\nurl = 'SECRET'\n")),
        ("node.toml", toml("redis = 'redis://:SECRET@h'\n")),
        (".env", spoilt_line),
    ] {
        let dir = WorkDir::new().with("node.toml", "").with(name, &text);
        let output = dir.run(&[], &["config", "check", "--config", "node.toml"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.is_empty() && !stderr.contains(SECRET), "{stderr}");
    }
    for bad in
        [("CHAT_AUTH__ADMIN_KEY", unfit.as_str()), ("CHAT_REDIS__URL", SECRET), ("CHAT_ADMIN_KEY", SECRET)]
    {
        let output = dir.run(&[bad], &["config", "check"]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(bad.0) && !stderr.contains(SECRET), "{stderr}");
    }
}

#[test]
fn error_names_the_invalid_line_of_dot_env() {
    let dir = WorkDir::new().with(".env", "# a comment\nCHAT_PORT=1\nCHAT_HOST=a b\n");
    let error = ".env line 3: must be NAME=value; put a value with spaces, quotes, # or $ in single quotes";
    dir.refuses(&[], &[], &[error]);
}

#[test]
fn printed_settings_can_be_loaded_again() {
    let dir = WorkDir::new();
    let printed = dir.run(&[("CHAT_LIMITS__BURST", "77")], &["config", "print"]).stdout;
    let dir = dir.with("printed.toml", &String::from_utf8(printed).unwrap());
    dir.prints(&[], &["--config", "printed.toml"], "burst = 77 # limits.burst in printed.toml");
}

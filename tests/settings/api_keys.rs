//! The keys of the server API in the settings: the environment, `.env`, TOML and files, and what is said about entries that can't be
//! used.

use crate::work_dir::WorkDir;

const KEY: &str = "Xw7c-2mKq9-Rz4x-Lp8v";
const OTHER: &str = "Qe3n-8tVb1-Hj6y-Wd5s";

#[test]
fn keys_come_from_every_source() {
    let entries = format!("shop:tokens:{KEY}, bot:publish+read:20/s:file=bot.key");
    let shown = "api_keys = [\"shop:tokens:***\",\"bot:publish+read:20/s:file=bot.key\"]";
    let dir = WorkDir::new().with("bot.key", &format!("{OTHER}\n")).with(
        "node.toml",
        &format!("[auth]\napi_keys = [\"shop:tokens:{KEY}\", \"bot:publish+read:20/s:file=bot.key\"]\n"),
    );
    let file = ["--config", "node.toml"];
    let variable = [("CHAT_AUTH__API_KEYS", entries.as_str())];
    dir.prints(&variable, &[], &format!("{shown} # CHAT_AUTH__API_KEYS in the environment"));
    dir.prints(&[], &file, &format!("{shown} # auth.api_keys in node.toml"));
    for (environment, args) in
        [(&variable[..], &["config", "check"][..]), (&[], &[&["config", "check"], &file[..]].concat())]
    {
        let output = dir.run(environment, args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let dir = dir.with(".env", &format!("CHAT_AUTH__API_KEYS='{entries}'\n"));
    dir.prints(&[], &[], &format!("{shown} # CHAT_AUTH__API_KEYS in .env"));
    // An empty variable is the empty list.
    dir.prints(
        &[("CHAT_AUTH__API_KEYS", "")],
        &file,
        "api_keys = [] # CHAT_AUTH__API_KEYS in the environment",
    );
}

#[test]
fn entry_that_cannot_be_used_is_named_by_its_place() {
    let dir = WorkDir::new().with("short.key", "short\n").with("bot.key", KEY);
    let place = "CHAT_AUTH__API_KEYS in the environment: ";
    for (entries, said) in [
        (format!("bot:read:{KEY},{OTHER}"), format!("{place}entry 2 must be NAME:SCOPES:KEY")),
        (format!("bot:reed:{KEY}"), format!("{place}entry 1 has an unknown scope")),
        (format!("bot:reed:{KEY}"), "they are publish, read, moderate, tokens, admin".into()),
        (format!("bot:read:0/s:{KEY}"), format!("{place}entry 1 must have a limit from 1/s to 100000/s")),
        ("bot:read:short".into(), format!("{place}entry 1 must have a key of 16 to 512 characters")),
        (format!("bot:read:{KEY},bot:read:{OTHER}"), format!("{place}entries 1 and 2 have the same name")),
        (format!("admin_key:read:{KEY}"), format!("{place}entry 1 must have another name")),
        // These need the files.
        ("bot:read:file=none.key".into(), "auth.api_keys: can't use none.key: No such file".into()),
        (
            "bot:read:file=short.key".into(),
            "auth.api_keys: can't use short.key: it must have a key of 16".into(),
        ),
        (format!("bot:read:file=bot.key,a:read:{KEY}"), "auth.api_keys: bot and a have the same key".into()),
    ] {
        let output = dir.run(&[("CHAT_AUTH__API_KEYS", &entries)], &["config", "check"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(&said), "{said}: {error}");
        assert!(!error.contains(KEY) && !error.contains(OTHER), "{error}");
    }
}

#[test]
fn scope_for_tokens_is_enough_for_authentication() {
    let dir = WorkDir::new();
    for (entries, warned) in [(format!("bot:read:{KEY}"), true), (format!("shop:tokens:{KEY}"), false)] {
        let settings = [("CHAT_AUTH__ENABLED", "true"), ("CHAT_AUTH__API_KEYS", entries.as_str())];
        let output = dir.run(&settings, &["config", "check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.contains("nobody could get a token"), warned, "{said}");
    }
    let settings = [("CHAT_AUTH__ENABLED", "true"), ("CHAT_AUTH__API_KEYS", &*format!("bot:read:{KEY}"))];
    let output = dir.run(&settings, &["serve"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && said.contains("no key in auth.api_keys has the scope tokens"),
        "{said}"
    );
}

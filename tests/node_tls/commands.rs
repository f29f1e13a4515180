//! The commands with a node that has TLS, and what the node and `config check` say of files that can't be used.

use std::process::{Command, Output};

use super::certificates::Certificates;
use crate::support::api::KEY;
use crate::support::program::Program;

fn chatnode(environment: &[(&str, &str)], args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chatnode"))
        .args(args)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .env("CHAT_AUTH__ADMIN_KEY", KEY)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn commands_reach_a_node_with_tls() {
    let certificates = Certificates::new();
    certificates.sign("other");
    let (file, other, authority) =
        (certificates.text("node"), certificates.text("other"), certificates.text("authority"));
    let settings = [("CHAT_TLS__CERT_FILE", file.as_str()), ("CHAT_TLS__KEY_FILE", &file)];
    let node = Program::start(&settings);
    let port = node.address.port().to_string();
    let url = format!("https://localhost:{port}");
    let own = |args: &[&str]| chatnode(&settings, &[args, &["--port", &port]].concat());
    for args in [&["health"][..], &["rooms"], &["nodes"], &["token", "issue", "ann"]] {
        // By the certificate of the settings, and by its authority.
        let output = own(args);
        assert!(output.status.success(), "{args:?} {}", said(&output));
        let named = [args, &["--url", &url]].concat();
        let output = chatnode(&[("SSL_CERT_FILE", &authority)], &named);
        assert!(output.status.success(), "{args:?} {}", said(&output));
        let output = chatnode(&[("SSL_CERT_FILE", &other)], &named);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("not signed by an authority"), "{args:?} {}", said(&output));
        let strange = [("CHAT_TLS__CERT_FILE", other.as_str()), ("CHAT_TLS__KEY_FILE", &other)];
        let output = chatnode(&strange, &[args, &["--port", &port]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("it is not the one in tls.cert_file"), "{args:?} {}", said(&output));
    }
    let output = own(&["chat", "--name", "bot"]);
    assert!(output.status.success(), "{}", said(&output));
    let output = chatnode(&[("CHAT_TLS__CERT_FILE", "/none"), ("CHAT_TLS__KEY_FILE", "/none")], &["health"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("can't use /none: No such file"), "{}", said(&output));
}

#[test]
fn unusable_files_are_named_before_anything_starts() {
    let certificates = Certificates::new();
    certificates.sign("other");
    let (file, other) = (certificates.text("node"), certificates.text("other"));
    for (cert, key, what) in [
        (file.as_str(), other.as_str(), "it is not the key of the certificate in"),
        (&file, "/none", "tls.key_file: can't use /none: No such file"),
        ("/none", &file, "tls.cert_file: can't use /none: No such file"),
        (&file, "", "needs tls.key_file, the private key of this certificate"),
        ("", &file, "needs tls.cert_file, the certificate of this key"),
    ] {
        let settings = [("CHAT_TLS__CERT_FILE", cert), ("CHAT_TLS__KEY_FILE", key), ("CHAT_PORT", "0")];
        for args in [&["config", "check"][..], &["serve"]] {
            let output = chatnode(&settings, args);
            assert_eq!(output.status.code(), Some(2), "{args:?} {cert} {key}");
            assert!(said(&output).contains(what), "{args:?} {cert} {key}: {}", said(&output));
        }
    }
    let settings = [("CHAT_TLS__CERT_FILE", file.as_str()), ("CHAT_TLS__KEY_FILE", &file)];
    let output = chatnode(&settings, &["config", "check"]);
    assert!(output.status.success(), "{}", said(&output));
}

//! The variables of OpenTelemetry: what they change, and the errors for those that can't be used.

use std::process::{Command, Output};

use serde_json::json;

use crate::node;
use crate::receiver::Receiver;
use crate::support::authority::Authority;
use crate::support::client::Client;
use crate::support::program::Program;

/// Runs the command in this environment, without another.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatnode"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn value_that_does_not_fit_is_an_error() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (name, value, words) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "must be an HTTP URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@127.0.0.1", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://h/", "must be an HTTP URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip", "must be none"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem", "must be unset"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a,hunter2", "header 2 must be name=value"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "must be a whole number from 1 to 600000"),
        ("OTEL_TRACES_EXPORTER", "console", "must be otlp or none"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "must be parentbased_always_on or"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "must be a whole number from 1 to 65536"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", "must be at most OTEL_BSP_MAX_QUEUE_SIZE, which is 2048"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1", "must be a whole number from 10 to 600000"),
        ("OTEL_PROPAGATORS", "b3", "must be tracecontext or none"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "must be key=value"),
        ("OTEL_SDK_DISABLED", "1", "must be true or false"),
    ] {
        for arguments in [&["config", "check"][..], &["serve"]] {
            let output = run(arguments, &[endpoint, (name, value)]);
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{name}={value}: {errors}");
            assert!(errors.starts_with(&format!("chatnode: {name} in the environment: ")), "{errors}");
            assert!(errors.contains(words) && !errors.contains("hunter2"), "{errors}");
        }
    }
    let ratio = [endpoint, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    let output = run(&["config", "check"], &ratio);
    assert!(String::from_utf8(output.stderr).unwrap().contains("must be a number from 0 to 1"));
    // Without an endpoint, the others are another program's.
    let output = run(&["config", "check"], &[("OTEL_BSP_MAX_QUEUE_SIZE", "0")]);
    assert!(output.status.success());
}

#[tokio::test]
async fn resource_headers_and_endpoint_are_as_set() {
    let receiver = Receiver::start();
    let mut one = Program::start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/v1/traces", receiver.endpoint())),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=not this"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20hunter2,x-tenant=7"),
        ("OTEL_SERVICE_NAME", "our chat"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.instance.id=seven"),
        ("CHAT_NODE__NAME", "one"),
        ("CHAT_LOG__FILTER", "trace"),
    ]);
    Client::connect(one.address, "alice").await.ok("Auth", json!({})).await;
    let log = one.stop();
    assert!(log.contains("traces are on") && !log.contains("hunter2"), "{log}");
    let span = &receiver.named("Auth", 1)[0];
    let resource = &span["resource"];
    assert_eq!(resource["service.name"], "our chat");
    assert_eq!(resource["service.instance.id"], "seven");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "test");
    assert_eq!(resource["telemetry.sdk.language"], "rust");
    let headers = &span["headers"];
    assert_eq!(headers["authorization"], "Bearer hunter2");
    assert_eq!((&headers["x-tenant"], &headers["x-key"]), (&json!("7"), &json!(null)));
}

#[tokio::test]
async fn traces_are_off_unless_they_are_asked_for() {
    let receiver = Receiver::start();
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let mut one = node(&receiver, &[off]);
        Client::connect(one.address, "alice").await.ok("Auth", json!({})).await;
        let log = one.stop();
        assert!(!log.contains("traces are on"), "{log}");
    }
    assert_eq!(receiver.all().len(), 0);
}

#[tokio::test]
async fn receiver_is_reached_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    Authority::create(folder.path(), "authority").sign(folder.path(), "receiver", "localhost", 2099);
    let receiver = Receiver::start_with_tls(&folder.path().join("receiver.pem"));
    let authority = folder.path().join("authority.pem");
    let mut one = node(&receiver, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.to_str().unwrap())]);
    Client::connect(one.address, "alice").await.ok("Auth", json!({})).await;
    one.terminate();
    receiver.named("Auth", 1);

    Authority::create(folder.path(), "other");
    let other = folder.path().join("other.pem");
    let mut two = node(&receiver, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", other.to_str().unwrap())]);
    Client::connect(two.address, "alice").await.ok("Auth", json!({})).await;
    let log = two.stop();
    assert!(log.contains("the certificate is not signed by an authority"), "{log}");
    let missing = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem"),
        ("CHAT_PORT", "0"),
    ];
    let output = run(&["serve"], &missing);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && log.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{log}");
}

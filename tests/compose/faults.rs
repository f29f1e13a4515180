//! The first five minutes with docker-compose.yml on a machine where something is not as it should be. Owns the faults and what the
//! operator sees; told on one engine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::engine::with_engine;
use crate::http;
use crate::project::{PAGE, Project};
use crate::stories::V2;
use crate::until::{PATIENCE, until};

/// Fewer open files than nodes and HAProxy would like to have.
const FEW_FILES: &str = "--default-ulimit nofile=2048:2048";

const KEY: &str = "Zq8-vnTt4-Lw2x-Rk7p";

#[test]
fn operator_learns_what_is_wrong_and_can_change_it() {
    with_engine(FEW_FILES, |engine| async move {
        let project = Project::new(engine, V2);
        key_is_missing(&project).await;
        port_is_taken(&project).await;
        settings_come_from_the_env_file(&project).await;
        files_are_few(&project).await;
        log_has_only_json(&project).await;
        image_is_not_to_be_had(&project).await;
    });
}

async fn key_is_missing(project: &Project) {
    set(project, "CHAT_AUTH__ENABLED=true\n");
    let refused = project.try_compose("up -d").await;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("dependency failed to start"), "{error}");
    let log = project.compose("logs chat").await;
    assert!(log.contains("set CHAT_AUTH__ADMIN_KEY to the same random key on every node"), "{log}");
}

async fn port_is_taken(project: &Project) {
    set(project, &format!("CHAT_AUTH__ENABLED=true\nCHAT_AUTH__ADMIN_KEY={KEY}\n"));
    let _other = TcpListener::bind(PAGE).unwrap();
    let refused = project.try_compose("up -d").await;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    // The words in the handbook.
    assert!(!refused.status.success() && error.contains("address already in use"), "{error}");
    assert!(error.contains(&PAGE.to_string()), "{error}");
}

async fn settings_come_from_the_env_file(project: &Project) {
    let settings = format!(
        "PORT=8088\nSTATISTICS_PORT=8089\nCHAT_AUTH__ENABLED=true\nCHAT_AUTH__ADMIN_KEY={KEY}\n\
         CHAT_LIMITS__MAX_CONTENT_BYTES=4096\nCHAT_SERVER__ALLOWED_ORIGINS=https://chat.example.com\n"
    );
    set(project, &settings);
    project.compose("up -d").await;
    let page = SocketAddr::from((Ipv4Addr::LOCALHOST, 8088));
    until("the page answers", PATIENCE, || async {
        http::get(page, "/").await.filter(|(status, _)| *status == 200)
    })
    .await;
    let effective = project.shell(&project.handbook("docker compose exec -T chat")).await;
    for line in [
        "max_content_bytes = 4096 # CHAT_LIMITS__MAX_CONTENT_BYTES in the environment",
        "allowed_origins = [\"https://chat.example.com\"] # CHAT_SERVER__ALLOWED_ORIGINS in the environment",
        "enabled = true # CHAT_AUTH__ENABLED in the environment",
    ] {
        assert!(effective.contains(line), "no {line} in {effective}");
    }
    let node = &project.nodes().await[0];
    assert!(!http::issue_token(node.operators(), KEY, "alice").await.is_empty());
    // A name with a mistake reaches no node: this command of the handbook finds it.
    set(project, &format!("{settings}CHAT_LIMITS__BURTS=7\n"));
    let check = project.try_shell(&project.handbook("docker run --rm")).await;
    let error = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(!check.status.success() && error.contains("did you mean CHAT_LIMITS__BURST?"), "{error}");
    set(project, &settings);
}

async fn files_are_few(project: &Project) {
    let log = project.compose("logs --no-log-prefix chat").await;
    assert!(log.contains("the limit of open files is too low for max_connections = 10000"), "{log}");
    assert_eq!(project.nodes().await.len(), 3, "and they run all the same");
}

async fn log_has_only_json(project: &Project) {
    let log = project.compose("logs --no-log-prefix chat").await;
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let starts: Vec<&Value> = lines.iter().filter(|line| line["message"] == "started").collect();
    assert_eq!(starts.len(), 3);
    let settings = starts[0]["settings"].as_str().unwrap();
    assert!(settings.contains("limits.max_content_bytes = 4096") && !settings.contains(KEY), "{settings}");
}

async fn image_is_not_to_be_had(project: &Project) {
    let refused = project.try_compose("--profile watch up -d").await;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("Error Get \"https://registry-"), "{error}");
    let before = project.nodes().await;
    assert_eq!(before.len(), 3);
    project.compose("up -d").await;
    assert_eq!(project.nodes().await, before, "the cluster goes on");
    project.compose("down").await;
}

/// Writes `.env`, which only its owner can read.
fn set(project: &Project, settings: &str) {
    std::fs::write(project.file(".env"), settings).unwrap();
    std::fs::set_permissions(project.file(".env"), PermissionsExt::from_mode(0o600)).unwrap();
}

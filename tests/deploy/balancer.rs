//! Balancers, run with the files of `deploy/`, of which only the ports are changed. Owns the process; the balancer itself decides
//! which nodes are healthy. Used by the tests of balancers and of Prometheus.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::client::connect;
use crate::clients::source;
use crate::cluster::Cluster;
use crate::process::{Process, free_ports, with_ports};

/// The programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Haproxy,
    Nginx,
    Traefik,
    Envoy,
    #[cfg(feature = "all-balancers")]
    Caddy,
}

/// Makes one test of each story and balancer.
macro_rules! on_each_balancer {
    ($($story:ident)*) => {
        mod haproxy { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Haproxy).await; })* }
        mod nginx { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Nginx).await; })* }
        #[cfg(feature = "all-balancers")]
        mod traefik { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Traefik).await; })* }
        #[cfg(feature = "all-balancers")]
        mod envoy { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Envoy).await; })* }
        #[cfg(feature = "all-balancers")]
        mod caddy { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Caddy).await; })* }
    };
}

pub(crate) use on_each_balancer;

pub struct Balancer {
    /// The address for clients.
    pub address: SocketAddr,
    kind: Kind,
    process: Process,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.process.end();
    }
}

impl Balancer {
    /// Starts it in front of a cluster, and waits until it reaches every node.
    pub async fn start(kind: Kind, cluster: &Cluster) -> Self {
        let [front, operators] = free_ports();
        let folder = cluster.folder();
        let (port, internal) = (cluster.port, cluster.internal_port);
        let each_node = |ports: &mut Vec<(&'static str, String)>| {
            ports.extend([
                ("127.0.0.2:8080", format!("127.0.0.2:{port}")),
                ("127.0.0.3:8080", format!("127.0.0.3:{port}")),
                ("127.0.0.4:8080", format!("127.0.0.4:{port}")),
            ]);
        };
        let mut command = match kind {
            Kind::Haproxy => {
                let ports = [
                    ("bind :8080", format!("bind :{front}")),
                    ("bind :8405", format!("bind :{operators}")),
                    ("chat:8080", format!("chat:{port}")),
                    ("check port 8081", format!("check port {internal}")),
                    ("127.0.0.11:53", format!("127.0.0.11:{}", cluster.dns.port())),
                ];
                let file = write(folder, "haproxy.cfg", &with_ports("deploy/haproxy/haproxy.cfg", &ports));
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Kind::Nginx => {
                let mut ports = vec![("listen 8080", format!("listen {front}"))];
                each_node(&mut ports);
                let file = write(folder, "nginx.conf", &with_ports("deploy/nginx/nginx.conf", &ports));
                let mut command = Command::new("nginx");
                let place = format!("daemon off; pid {};", folder.join("nginx.pid").display());
                command.arg("-p").arg(folder).arg("-c").arg(file).args(["-g", &place]);
                command
            }
            Kind::Traefik => {
                let mut ports = vec![("port: 8081", format!("port: {internal}"))];
                each_node(&mut ports);
                write(
                    folder,
                    "deploy/traefik/dynamic.yml",
                    &with_ports("deploy/traefik/dynamic.yml", &ports),
                );
                let ports = [
                    ("\":8080", format!("\":{front}")),
                    ("127.0.0.1:8405", format!("127.0.0.1:{operators}")),
                ];
                let file = write(folder, "traefik.yml", &with_ports("deploy/traefik/traefik.yml", &ports));
                let mut command = Command::new("traefik");
                command.arg(format!("--configFile={}", file.display())).current_dir(folder);
                command
            }
            Kind::Envoy => {
                let ports = [
                    ("address: 0.0.0.0, port_value: 8080", format!("address: 0.0.0.0, port_value: {front}")),
                    ("port_value: 8080", format!("port_value: {port}")),
                    ("port_value: 8081", format!("port_value: {internal}")),
                    ("port_value: 8405", format!("port_value: {operators}")),
                ];
                let file = write(folder, "envoy.yaml", &with_ports("deploy/envoy/envoy.yaml", &ports));
                let mut command = Command::new("envoy");
                // Each Envoy needs its own number for its shared memory.
                command.arg("-c").arg(file).args(["--base-id", &operators.to_string(), "--concurrency", "2"]);
                command
            }
            #[cfg(feature = "all-balancers")]
            Kind::Caddy => {
                let mut ports = vec![
                    ("\n:8080", format!("\n:{front}")),
                    ("health_port 8081", format!("health_port {internal}")),
                    ("admin 127.0.0.1:8405", format!("admin 127.0.0.1:{operators}")),
                ];
                each_node(&mut ports);
                write(folder, "Caddyfile", &with_ports("deploy/caddy/Caddyfile", &ports));
                let mut command = Command::new("caddy");
                // Where it would keep certificates.
                command
                    .arg("run")
                    .current_dir(folder)
                    .env("XDG_DATA_HOME", folder)
                    .env("XDG_CONFIG_HOME", folder);
                command
            }
        };
        let process = Process::start("balancer", folder, &mut command);
        let balancer = Self { address: (Ipv4Addr::LOCALHOST, front).into(), kind, process };
        balancer.reaches_all(cluster).await;
        balancer
    }

    /// Waits until it has given a client to every running node. (A new node has none, and is the first choice of a balancer that
    /// counts connections.)
    pub async fn reaches_all(&self, cluster: &Cluster) {
        let mut clients = Vec::new();
        loop {
            let nodes = cluster.metric_of_all("chat_handshakes_total{result=\"ok\"}").await;
            if nodes.iter().all(|served| *served > 0.0) {
                return;
            }
            assert!(clients.len() < 1_000, "{:?} does not reach every node: {nodes:?}", self.kind);
            // Each from another address: a test may limit the connections of one.
            clients.push(connect(source(100 + clients.len()), self.address, None).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

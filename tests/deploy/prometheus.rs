//! Prometheus with the files of `deploy/` and a real cluster: it scrapes every node, and answers the queries of the dashboard
//! and the alerts.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::balancer::{Balancer, Kind};
use crate::clients::Clients;
use crate::cluster::Cluster;
use crate::files::dashboard_queries;
use crate::http;
use crate::process::{Process, free_ports, project, until, with_ports};

/// Long enough for two samples of a rate, with a scrape every 5 s.
const A_FEW_SCRAPES: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_every_node_and_answers_every_query() {
    let cluster = Cluster::start(3, &[]).await;
    let prometheus = Prometheus::start(&cluster);
    let balancer = Balancer::start(Kind::Haproxy, &cluster).await;
    let clients = Clients::connect(balancer.address, 60).await;
    clients.start_talking();

    until("Prometheus scrapes three nodes", A_FEW_SCRAPES, || async {
        let up = prometheus.ask("sum(up{job=\"chat\"})").await?;
        (up.first()?["value"][1] == "3").then_some(())
    })
    .await;
    for query in dashboard_queries() {
        let asked = query.replace("$__rate_interval", "30s").replace("$instance", ".*");
        until(&format!("an answer to {asked}"), A_FEW_SCRAPES, || async {
            prometheus.ask(&asked).await.filter(|rows| !rows.is_empty())
        })
        .await;
    }
    let connections = prometheus.ask("sum(chat_connections)").await.unwrap();
    assert_eq!(connections[0]["value"][1], "60");

    for node in prometheus.ask("scrape_samples_scraped{job=\"chat\"}").await.unwrap() {
        let series: usize = node["value"][1].as_str().unwrap().parse().unwrap();
        assert!(series < 300, "a node shows {series} series");
    }
    until("every alert is evaluated", A_FEW_SCRAPES, || async {
        let (_, body) = http::get(prometheus.address, "/api/v1/rules").await?;
        let answer: Value = serde_json::from_str(&body).unwrap();
        let rules: Vec<&Value> = answer["data"]["groups"]
            .as_array()?
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap())
            .collect();
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule}");
            assert_ne!(rule["state"], "firing", "nothing is wrong: {rule}");
        }
        (!rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    })
    .await;
    clients.finish_without_loss().await;
}

struct Prometheus {
    address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    /// Starts it with the files of the project. It finds the nodes by `nodes.d`, because this cluster has no DNS for it.
    fn start(cluster: &Cluster) -> Self {
        let [port] = free_ports();
        let folder = cluster.folder();
        let ports = [
            ("port: 8081", format!("port: {}", cluster.internal_port)),
            ("localhost:9090", format!("localhost:{port}")),
        ];
        std::fs::write(folder.join("prometheus.yml"), with_ports("deploy/prometheus/prometheus.yml", &ports))
            .unwrap();
        for inner in ["rules", "nodes.d"] {
            std::fs::create_dir_all(folder.join(inner)).unwrap();
        }
        std::fs::copy(project("deploy/prometheus/rules/chatnode.yml"), folder.join("rules/chatnode.yml"))
            .unwrap();
        let targets: Vec<String> =
            (0..cluster.size()).map(|node| cluster.operators(node).to_string()).collect();
        std::fs::write(folder.join("nodes.d/nodes.json"), json!([{ "targets": targets }]).to_string())
            .unwrap();

        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let process = Process::start(
            "prometheus",
            folder,
            Command::new("prometheus")
                .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
                .arg(format!("--web.listen-address={address}")),
        );
        Self { address, _process: process }
    }

    /// The rows of an instant query; none if Prometheus does not answer yet.
    async fn ask(&self, query: &str) -> Option<Vec<Value>> {
        let (status, body) =
            http::get(self.address, &format!("/api/v1/query?query={}", http::encode(query))).await?;
        assert!(status == 200 || status == 503, "{query}: {body}");
        let answer: Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"].as_array().cloned()
    }
}

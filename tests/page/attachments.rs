//! Attachments on the page: links, and pictures of the hosts that the settings name.

use serde_json::json;

use super::page_fixture::PageFixture;
use crate::support::cluster::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_of_listed_hosts_are_shown_and_files_linked() {
    let hosts =
        |config: &mut chatnode::config::Config| config.messages.attachment_hosts = vec!["localhost".into()];
    let fixture = PageFixture::start_with(Kind::Embedded, hosts).await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice.js("(window.refused = [], document.addEventListener('securitypolicyviolation', (event) => refused.push(event.violatedDirective)))").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    // Another host than that of the page, though the same node answers.
    let url = format!("http://localhost:{}/assets/icon.svg", fixture.balancer.address.port());
    let file = |name: &str, mime: &str| json!({ "url": url, "name": name, "mime": mime, "bytes": 12_345 });
    let mut picture = file("wide.png", "image/png");
    picture["width"] = json!(2_000);
    picture["height"] = json!(1_000);
    let files = json!([
        picture,
        file("plain.webp", "image/webp"),
        file("drawing.svg", "image/svg+xml"),
        file("page.html", "text/html")
    ]);
    bob.ok("GroupChat", json!({ "room": "ops", "content": "see", "attachments": files })).await;
    let links = "[...document.querySelectorAll('.file')].map(({ textContent, href, target, rel }) => [textContent, href, target, rel])";
    alice.sees("the files are shown", "document.querySelectorAll('.file').length === 4").await;
    let link = |name: &str| json!([format!("{name} 12.3 kB"), url, "_blank", "noopener noreferrer"]);
    let names = ["wide.png", "plain.webp", "drawing.svg", "page.html"];
    assert_eq!(alice.js(links).await, json!(names.map(link)));
    let pictures = "[...document.querySelectorAll('.file img')].map((image) =>
        [image.loading, image.referrerPolicy, image.offsetWidth, image.offsetHeight])";
    assert_eq!(
        alice.js(pictures).await,
        json!([["lazy", "no-referrer", 360, 180], ["lazy", "no-referrer", 240, 160]])
    );
    alice
        .sees(
            "the pictures are loaded",
            "[...document.querySelectorAll('.file img')].every((image) => image.naturalWidth > 0)",
        )
        .await;
    assert_eq!(alice.js("refused").await, json!([]));
    // Nothing else of that host, and no picture of another one.
    alice.js(&format!("(fetch({}).catch(() => 0), 0)", json!(url))).await;
    alice.js("(new Image().src = 'https://127.0.0.2/a.png', 0)").await;
    alice.sees("the policy refuses both", "refused.toSorted().join() === 'connect-src,img-src'").await;
}

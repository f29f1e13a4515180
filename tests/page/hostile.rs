//! Hostile input: the page shows markup in names and messages as text.

use serde_json::{Value, json};

use super::page_fixture::PageFixture;
use super::person::ENTER;

const ESCAPE: &str = "\u{e00c}";

/// Names that would do harm if the page treated them as more than text.
const TRICKS: [&str; 30] = [
    "<script>harm()</script>",
    "<img src=x onerror=harm()>",
    "<svg onload=harm()>",
    "<svg><script>harm()</script></svg>",
    "<iframe src=javascript:harm()>",
    "<iframe srcdoc='<script>harm()'>",
    "<body onload=harm()>",
    "<a href=javascript:harm()>x</a>",
    "<b onmouseover=harm()>x</b>",
    "<details open ontoggle=harm()>",
    "<video><source onerror=harm()>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//x.test>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//x.test/>",
    "<form action=//x.test><button>x",
    "<object data=javascript:harm()>",
    "<math><mi xlink:href=javascript:harm()>",
    "</title><script>harm()</script>",
    "</textarea><script>harm()</script>",
    "--><script>harm()</script><!--",
    "\"><img src=x onerror=harm()>",
    "' onfocus=harm() autofocus='",
    "javascript:harm()",
    "data:text/html,<script>harm()</script>",
    "{{constructor.constructor('harm()')()}}",
    "${harm()}",
    "__proto__",
    "constructor",
    "%3Cscript%3Eharm()%3C/script%3E",
];

/// Hostile messages: longer than names, with line breaks, links, and characters that names must not contain.
const LONG_TRICKS: [&str; 30] = [
    "https://x.test/\"onmouseover=\"harm()",
    "https://x.test/'><script>harm()</script>",
    "http://javascript:harm()@x.test/",
    "javascript://x.test/%0aharm()",
    "JaVaScRiPt:harm()//https://x.test/",
    "https://x.test/?q=<svg/onload=harm()>",
    "vbscript:harm()",
    "file:///etc/passwd",
    "blob:https://x.test/0",
    "https://\u{202e}tset.x//:sptth",
    "[x](javascript:harm())",
    "![x](x\" onerror=\"harm())",
    "<img src=x\nonerror=harm()\n>",
    "<scr<script>ipt>harm()</scr</script>ipt>",
    "&lt;script&gt;harm()&lt;/script&gt;",
    "&#60;script&#62;harm()&#60;/script&#62;",
    "\\u003cscript\\u003eharm()\\u003c/script\\u003e",
    "<template><script>harm()</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=harm()>'>",
    "<input autofocus onfocus=harm()>",
    "<select autofocus onfocus=harm()>",
    "<marquee onstart=harm()>",
    "<audio src=x onerror=harm()>",
    "<portal src=javascript:harm()>",
    "<x contenteditable onblur=harm()>lose focus!",
    "\u{0}<script>harm()</script>",
    "\u{feff}<script>harm()</script>",
    "\u{2028}harm()\u{2029}",
    "Z\u{351}\u{34b}\u{35c}a\u{351}\u{34b}l\u{351}\u{34b}g\u{351}\u{34b}o",
    "\u{202e}<script>harm()</script>\u{2066}",
];

/// Everything in the page that could come from hostile input: elements that the page never builds, listeners in
/// attributes, and links that are not web addresses.
const INJECTED: &str = "
(() => {
    const ours = ['I','LI','P','DIV','SPAN','B','BDI','A','SVG','PATH','BUTTON','SMALL','H2','UL','OL','STRONG','EM','CODE','PRE','BLOCKQUOTE'];
    const places = '#timeline *, #sidebar .scroll *, #members *, #pane > header .label *, #typing *, #live *, #notice *, #context *, #suggestions *, .menu *';
    const found = [];
    for (const node of document.querySelectorAll(places)) {
        if (!ours.includes(node.tagName.toUpperCase())) found.push(node.outerHTML);
        for (const { name, value } of node.attributes) {
            if (name.startsWith('on') || name === 'srcdoc' || name === 'autofocus') found.push(node.outerHTML);
            if (name === 'href' && !/^(https?:|#)/.test(value)) found.push(node.outerHTML);
            if (name === 'href' && node.matches('.file') && node.rel !== 'noopener noreferrer') found.push(node.outerHTML);
        }
    }
    for (const tag of ['script', 'iframe', 'object', 'embed', 'base', 'style']) {
        const count = document.querySelectorAll(tag).length;
        if (count !== (tag === 'script' ? 2 : 0)) found.push(`${count} ${tag}`);
    }
    return found;
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_shows_hostile_names_and_messages_as_text() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice.js("(window.harmed = [], window.harm = () => harmed.push('ran'))").await;
    alice.js("(document.addEventListener('securitypolicyviolation', (e) => harmed.push(e.violatedDirective)), 0)").await;
    let elements = "document.querySelectorAll('body > *').length";
    let before = alice.js(elements).await;

    let mut wanted = Vec::new();
    let mut people = Vec::new();
    let mut before_it = json!(null);
    for (name, long) in TRICKS.iter().zip(LONG_TRICKS) {
        let mut person = fixture.other(1, name, "ops").await;
        let id = person.say("ops", long).await["message_id"].clone();
        // In every field that a message has beside its text.
        let label = format!("{name}\u{202e}{}", "x".repeat(200));
        let path = format!("https://x.test/{}", name.replace(' ', "'"));
        let file = |mime: &str| json!({ "url": path, "name": label, "mime": mime, "bytes": u64::MAX >> 11 });
        let files = json!([file("image/png"), file("image/svg+xml"), file("text/html"), file(name)]);
        let more = json!({ "reply_to": before_it, "mentions": [name, "alice"], "attachments": files });
        let mut message = json!({ "room": "ops", "content": name });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        person.ok("GroupChat", message).await;
        person.ok("React", json!({ "room": "ops", "message_id": id, "reaction": name, "on": true })).await;
        before_it = id;
        person.tell("Typing", json!({ "room": "ops" })).await;
        wanted.extend([long, name]);
        people.push(person);
    }
    alice.sees_messages(&wanted).await;
    alice.sees("all reactions have arrived", "document.querySelectorAll('.chosen').length === 30").await;
    let shown = "['.answered', '.file', 'img', '.called'].map((part) => document.querySelectorAll(`#timeline ${part}`).length)";
    assert_eq!(alice.js(shown).await, json!([29, 120, 0, 30]), "pictures of no host are loaded");
    assert_eq!(alice.js(INJECTED).await, json!([]));
    assert_eq!(alice.js("(({ scrollWidth, clientWidth }) => scrollWidth === clientWidth)(document.getElementById('scroller'))").await, true);
    // In the text field: a name that is chosen, and an answer; in the menus: who reacted.
    alice.types("#draft", "@<im").await;
    alice.reads("#suggestions", TRICKS[1]).await;
    assert_eq!(alice.js(INJECTED).await, json!([]));
    alice.types("#draft", &format!("{ENTER}{ENTER}")).await;
    alice.reads("#timeline > li:last-child .mention", TRICKS[1]).await;
    wanted.push("@<img src=x onerror=harm()>");
    for entry in ["Reply", "Who reacted"] {
        alice.clicks("#timeline > li:nth-last-child(3) .more").await;
        alice.presses(&[&entry[..1]]).await;
        alice.presses(&[ENTER]).await;
        assert_eq!(alice.js(INJECTED).await, json!([]), "{entry}");
        alice.presses(&[ESCAPE]).await;
    }

    // As users in the lists, as titles, as rooms.
    for person in &mut people {
        person.whisper("alice", person.name().to_owned().as_str()).await;
    }
    alice.sees("all users are in the list", "document.querySelectorAll('#peers a').length === 30").await;
    alice.clicks("#people-toggle").await;
    alice.sees("all users are members", "document.querySelectorAll('#members a').length === 31").await;
    assert_eq!(alice.js(INJECTED).await, json!([]));
    for name in [TRICKS[1], TRICKS[18], TRICKS[27]] {
        for kind in ["peer", "room"] {
            let link = format!("location.hash = '{kind}=' + encodeURIComponent({})", json!(name));
            alice.js(&link).await;
            let title = if kind == "room" { format!("#{name}") } else { name.to_owned() };
            alice.reads("#title", &title).await;
            alice.reads("title", &title).await;
            assert_eq!(alice.js(INJECTED).await, json!([]));
        }
    }

    // A reload builds the whole page from the stored state.
    let harmed: Value = alice.js("harmed").await;
    assert_eq!(harmed, json!([]), "no script ran, and the policy refused nothing");
    assert_eq!(alice.js(elements).await, before);
    alice.reloads().await;
    alice.is_online().await;
    alice.opens("room=ops").await;
    alice.says("still well").await;
    alice
        .sees(
            "the page works",
            "[...document.querySelectorAll('#timeline .text')].at(-1)?.textContent === 'still well'",
        )
        .await;
    assert_eq!(alice.js("typeof harm").await, "undefined");
    assert_eq!(alice.js(INJECTED).await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_exclude_punctuation_and_brackets_around_them() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let sentence = "(see http://a.test/b.) or http://a.test/x_(y), “http://a.test/z”! Not http://?";
    bob.say("ops", sentence).await;
    alice.sees_messages(&[sentence]).await;
    let links = alice.js("[...document.querySelectorAll('.text a')].map((link) => link.textContent)").await;
    assert_eq!(links, json!(["http://a.test/b", "http://a.test/x_(y)", "http://a.test/z"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_long_links_do_not_block_the_page() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    alice.opens("room=tea").await;
    // Links that consist of characters with which a link must not end.
    for long in [format!("http://x{}", ")".repeat(16_000)), format!("http://x{}x", ".".repeat(16_000))] {
        for _ in 0..10 {
            bob.say("ops", &long).await;
        }
    }
    alice.unread("room=ops", 20).await;
    let shown = "new Promise((done) => {
        const began = performance.now();
        location.hash = 'room=ops';
        (function look() {
            if (document.querySelectorAll('#timeline .text').length === 20) done(performance.now() - began);
            else requestAnimationFrame(look);
        })();
    })";
    let took = alice.js(shown).await.as_f64().unwrap();
    assert!(took < 1_500.0, "the page was blocked for {took} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn combining_marks_stay_inside_their_bubble() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let tower = format!("o{}", "\u{351}".repeat(300));
    for text in ["one", "two", &tower] {
        bob.say("ops", text).await;
    }
    alice.sees_messages(&["one", "two", &tower]).await;
    let clips = "getComputedStyle([...document.querySelectorAll('.bubble')].at(-1)).overflow";
    assert_eq!(alice.js(clips).await, "hidden");
}

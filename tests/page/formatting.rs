//! The format of messages: what becomes code, bold, italic, a quote or a link, and what stays text, whatever it is.

use serde_json::{Value, json};

use super::looks::fits;
use super::page_fixture::PageFixture;

/// Texts, and the elements that the page builds of them.
const FORMATS: [(&str, &str); 43] = [
    ("**bold** and *italic*", "<strong>bold</strong> and <em>italic</em>"),
    ("***both***", "<strong><em>both</em></strong>"),
    ("**bold *both* bold**", "<strong>bold <em>both</em> bold</strong>"),
    ("(*in brackets*), **end**.", "(<em>in brackets</em>), <strong>end</strong>."),
    ("这是**重要**的", "这是<strong>重要</strong>的"),
    ("**bold *overlaps** here*", "<strong>bold *overlaps</strong> here*"),
    ("**outer **inner** outer**", "<strong>outer inner outer</strong>"),
    ("**not\nover lines**", "**not\nover lines**"),
    ("2*3*4 and 2**3**4", "2*3*4 and 2**3**4"),
    ("src/*.rs tests/*.rs", "src/*.rs tests/*.rs"),
    ("5 * 3 * 2", "5 * 3 * 2"),
    ("* one\n* two", "* one\n* two"),
    ("**open", "**open"),
    ("****", "****"),
    ("** **", "** **"),
    ("snake_case_name", "snake_case_name"),
    ("`code`", "<code>code</code>"),
    ("`**code**`", "<code>**code**</code>"),
    ("**`code` in bold**", "<strong><code>code</code> in bold</strong>"),
    ("``a`b``", "<code>a`b</code>"),
    ("`` ` ``", "<code>`</code>"),
    ("`open", "`open"),
    ("`a``b`", "<code>a``b</code>"),
    ("*a `b* c`", "*a <code>b* c</code>"),
    ("```\nlet x;\n```", "<pre><code>let x;</code></pre>"),
    ("```rust\n  **x**\n\ny\n```\nafter", "<pre><code>  **x**\n\ny</code></pre>after"),
    ("before\n\n```\nx\n```\n\nafter", "before<pre><code>x</code></pre>after"),
    ("```SELECT 1\nFROM x```", "<pre><code>SELECT 1\nFROM x</code></pre>"),
    ("```\nforgotten", "<pre><code>forgotten</code></pre>"),
    ("```", "```"),
    ("```one line```", "<code>one line</code>"),
    ("````\n```\n````", "<pre><code>```</code></pre>"),
    ("> quoted\n> twice\nanswer", "<blockquote>quoted\ntwice</blockquote>answer"),
    ("> > deep\n> flat", "<blockquote><blockquote>deep</blockquote>flat</blockquote>"),
    ("> ```\n> code\n> ```", "<blockquote><pre><code>code</code></pre></blockquote>"),
    ("> **bold**", "<blockquote><strong>bold</strong></blockquote>"),
    (">_< >:(", ">_< >:("),
    (">", ">"),
    ("a > b", "a > b"),
    ("see http://a.test/b*c", "see <a>http://a.test/b*c</a>"),
    ("**http://a.test/b**", "<strong><a>http://a.test/b</a></strong>"),
    ("`http://a.test/b`", "<code>http://a.test/b</code>"),
    ("<b>*x*</b> &amp;", "<b><em>x</em></b> &amp;"),
];

/// Runs in the page: formats texts, and returns each as text with tags, without attributes.
const RENDER: &str = "import('/assets/format.js').then(({ format }) => {
    const write = (node) => node.nodeType === 3 ? node.data
        : `<${node.localName}>${[...node.childNodes].map(write).join('')}</${node.localName}>`;
    return arguments_.map((text) => format(text)
        .map((node) => typeof node === 'string' ? node : write(node)).join(''));
})";

/// Runs in the page: formats hostile texts of 100,000 characters. In more than linear time, this would
/// take longer than a browser may take for a command. Returns what is wrong.
const HOSTILE: &str = "import('/assets/format.js').then(({ format, plain }) => {
    const LENGTH = 100_000;
    const many = (part) => part.repeat(Math.ceil(LENGTH / part.length)).slice(0, LENGTH);
    const halves = (part, other) => many(part).slice(LENGTH / 2) + many(other).slice(LENGTH / 2);
    const rising = (mark) => {
        let text = '';
        for (let length = 1; text.length < LENGTH; length += 1) text += mark.repeat(length) + ' x ';
        return text;
    };
    const texts = [
        '*', '**', '***', '****', '`', '``', '```', '>', '> ', '>> ', '\\n', ' ', '\\t',
        '*a', '*a ', '**a', '**a ', '***a ', '*a* ', '**a** ', '`a', '`a ', '`a` ', '``a` ', '* *', '(*)', '`*', '*`a*` ',
        '**a *b ', 'a** b* ', '*a **b* c** ', '***a* b** ',
        '>\\n', '> a\\n', '> a\\nb\\n', '>>>>\\n', '> > > > > > a\\n', '> ```\\n', '> `a\\n',
        '```\\n', '```\\n```\\n', '```a\\nb\\n```\\n', '````\\n```\\n', '``` `\\n', ' ```\\n',
        'http://a ', 'http://', 'http://a.b/*c* ', 'http://)', '**http://a** ',
        '\\u202e', '\\u202e*a* ', '\\u2066`a` ', '\\u200b*', '\\u0301*', '\\ud83d*', '\\ud83d\\ude42*a* ', '\\0*a* ',
    ].map(many).concat([
        halves('**a ', 'a** '), halves('`', 'a'), halves(' ', '*'), halves('> ', '```'), halves('http://a.', ')'),
        rising('`'), rising('*'), `\\`${' '.repeat(LENGTH)}x\\``, `${'\\n'.repeat(LENGTH)}> a`,
    ]);
    const faults = texts.length < 60 || texts.length > 80 ? [`${texts.length} texts`] : [];
    const allowed = ['strong', 'em', 'code', 'pre', 'blockquote', 'a'];
    const look = (node, depth) => {
        if (depth > 12) throw 'too deep';
        if (node.nodeType === 3) return 0;
        if (!allowed.includes(node.localName)) throw node.localName;
        for (const { name, value } of node.attributes) {
            if (!['dir', 'href', 'target', 'rel'].includes(name)) throw name;
            if (name === 'href' && !value.startsWith('http')) throw value;
        }
        return [...node.childNodes].reduce((sum, child) => sum + look(child, depth + 1), 1);
    };
    for (const text of texts.slice(FIRST, FIRST + AT_ONCE)) {
        try {
            const nodes = format(text);
            const strings = nodes.filter((node) => typeof node === 'string');
            const elements = nodes.filter((node) => typeof node !== 'string');
            const count = elements.reduce((sum, node) => sum + look(node, 1), 0);
            if (count > 820 || strings.length > count + 1) throw `${count} elements, ${strings.length} texts`;
            if (!plain(text)) throw 'no text';
        } catch (fault) {
            faults.push(`${text.slice(0, 20)}: ${fault}`);
        }
    }
    return faults;
})";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_become_elements_and_hostile_texts_do_no_harm() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let texts: Vec<&str> = FORMATS.iter().map(|(text, _)| *text).collect();
    let built: Vec<String> =
        serde_json::from_value(alice.js(&RENDER.replace("arguments_", &json!(texts).to_string())).await)
            .unwrap();
    let wrong: Vec<_> = FORMATS.iter().zip(&built).filter(|((_, wanted), built)| wanted != built).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // In parts, since the driver waits half a minute for each.
    for first in (0..80).step_by(4) {
        let part = HOSTILE.replace("FIRST + AT_ONCE", "FIRST + 4").replace("FIRST", &first.to_string());
        assert_eq!(alice.js(&part).await, json!([]), "from text {first}");
    }

    // On the screen: nothing is wider than the window, and what turns the direction of a text ends with it.
    let mut bob = fixture.other(1, "bob", "ops").await;
    let long = "x".repeat(3_000);
    let samples = [
        format!("```\n{long}\n```"),
        format!("`{long}`"),
        format!("> > > > > > {long}"),
        format!("**{long}**"),
        "> > > > **a** `b`\n```\n\tc\n```\n".repeat(40),
        "\u{202e}turned **bold** `code` https://example.com/".to_owned(),
        "```\n\u{202e}turned code\n```\nafter".to_owned(),
        "*a* ".repeat(2_000),
        "אני **מודגש** `code`\n> ציטוט\n```\nlet x = 1;\n```".to_owned(),
    ];
    for sample in &samples {
        bob.say("ops", sample).await;
    }
    let count = samples.len();
    alice
        .sees(
            "all messages are shown",
            &format!("document.querySelectorAll('#timeline .text').length === {count}"),
        )
        .await;
    for (width, direction) in [(1280, "ltr"), (320, "ltr"), (320, "rtl")] {
        alice.has_screen(width, 700, false).await;
        alice.js(&format!("document.documentElement.dir = '{direction}'")).await;
        fits(&alice).await;
    }
    let isolated = "[...document.querySelectorAll('.text :is(a, code, pre, blockquote)')]
        .every((node) => /isolate|plaintext/.test(getComputedStyle(node).unicodeBidi))";
    assert_eq!(alice.js(isolated).await, true);

    // What screen readers speak has no marks. Links to the page stay in its tab, others do not.
    let plain =
        "import('/assets/format.js').then(({ plain }) => plain('**speak** `this`\\n> and this\\nlast'))";
    assert_eq!(alice.js(plain).await, "speak this\nand this\nlast");
    let here = format!("{} http://a.test/", fixture.link("room=tea"));
    bob.say("ops", &here).await;
    alice.reads("#timeline > li:last-child .text", &here).await;
    let targets: Value =
        alice.js("[...document.querySelectorAll('#timeline > li:last-child a')].map((a) => a.target)").await;
    assert_eq!(targets, json!(["", "_blank"]));
}

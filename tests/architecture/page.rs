//! Rules on the chat page in `web/`: the length of its files, and that all texts for people are in one of them.

use crate::files::{MAX_LINES, assert_no_faults};
use crate::source::{Source, files};

/// The file with the texts.
const TEXTS: &str = "web/strings.js";
/// The others.
const OTHER_TEXTS: &str = "web/strings-rights.js";
const SCHEMA: &str = include_str!("../../docs/protocol.schema.json");
/// What begins like a sentence, but is a name of the browser.
const NAMES: [&str; 10] = [
    "ArrowDown",
    "ArrowUp",
    "End",
    "Enter",
    "Escape",
    "Home",
    "Notification",
    "Retry-After",
    "Tab",
    "X-Chat-Refused",
];
/// What index.html says by itself: the name of the page until the script runs, the name of the product, and the reason for
/// a browser that runs no script.
const FIXED: [&str; 3] = ["Chat", "chatnode", "This page needs JavaScript, and a browser not older than"];

fn scripts() -> Vec<Source> {
    let paths = files("web").into_iter().filter(|path| path.ends_with(".js"));
    let scripts: Vec<Source> = paths
        .map(|path| {
            let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
            Source { text: std::fs::read_to_string(file).unwrap(), path }
        })
        .collect();
    assert!(scripts.len() > 20, "only {} scripts were found", scripts.len());
    scripts
}

/// The literals in a line of JavaScript, without those that go on in the next line.
fn literals(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(['\'', '`', '"']) {
        let quote = &rest[start..=start];
        let Some(length) = rest[start + 1..].find(quote) else { break };
        found.push(&rest[start + 1..start + 1 + length]);
        rest = &rest[start + 2 + length..];
    }
    found
}

/// Whether a literal looks like a text for people: a word with a capital letter that is no name, or an end of a sentence.
fn is_text(literal: &str) -> bool {
    let mut letters = literal.trim_start_matches(['(', ' ', '“']).chars();
    let begins =
        letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase);
    let is_name = NAMES.contains(&literal) || SCHEMA.contains(&format!("\"{literal}\""));
    let words =
        literal.split(' ').filter(|word| word.chars().all(char::is_alphabetic) && word.len() > 1).count();
    (begins && !is_name) || (words > 2 && literal.ends_with(['.', '…', '?', '!', ':']))
}

#[test]
fn no_script_of_the_page_is_longer_than_400_lines() {
    let long = scripts().into_iter().filter(|script| script.lines() > MAX_LINES);
    assert_no_faults(&long.map(|s| format!("{} has {} lines", s.path, s.lines())).collect::<Vec<_>>());
}

#[test]
fn texts_of_the_page_are_in_one_file() {
    for (literal, wanted) in [
        ("Link copied.", true),
        ("Close", true),
        ("the server is very busy.", true),
        ("ArrowUp", false),
        ("GroupChat", false),
        ("text emoji", false),
        ("M12 5v14M5 12h14", false),
    ] {
        assert_eq!(is_text(literal), wanted, "{literal}");
    }
    let mut faults = Vec::new();
    for script in scripts().into_iter().filter(|script| script.path != TEXTS && script.path != OTHER_TEXTS) {
        for (number, line) in script.text.lines().enumerate() {
            let is_comment = ["//", "/*", "*"].iter().any(|start| line.trim_start().starts_with(start));
            let texts = literals(line).into_iter().filter(|literal| !is_comment && is_text(literal));
            faults.extend(texts.map(|text| format!("{}:{}: {text}", script.path, number + 1)));
        }
    }
    let page = include_str!("../../web/index.html");
    for part in page.split('>').skip(1) {
        let text = part.split('<').next().unwrap().trim();
        if !text.is_empty() && !FIXED.iter().any(|fixed| text.starts_with(fixed)) {
            faults.push(format!("web/index.html: {text}"));
        }
    }
    for attribute in [" title=", " aria-label=", " placeholder=", " alt=\"A"] {
        if page.contains(attribute) {
            faults.push(format!("web/index.html:{attribute}"));
        }
    }
    // Each key of the page has its text.
    let texts = scripts().into_iter().find(|script| script.path == TEXTS).unwrap().text;
    for key in
        ["data-text=\"", "data-title=\"", "data-label=\""].iter().flat_map(|start| page.split(start).skip(1))
    {
        let key = key.split('"').next().unwrap();
        if !texts.contains(&format!("\n\t{key}: '")) {
            faults.push(format!("{TEXTS} has no text {key}"));
        }
    }
    assert_no_faults(&faults);
}

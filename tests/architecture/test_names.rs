//! Rules on the names of test functions: subject, verb, object, in at most 60 characters, so that a list of failures can be
//! read. A name without a subject is found by the pronoun that stands for it.

use crate::files::assert_no_faults;
use crate::source::sources;

/// The most characters of a test's name.
const MAX_LENGTH: usize = 60;

/// Pronouns that no name may contain, because they name nobody.
const PRONOUNS: [&str; 6] = ["who", "whom", "whoever", "nobody", "somebody", "everybody"];

/// Pronouns that no name may begin with, because they refer to nothing there.
const FIRST_PRONOUNS: [&str; 8] = ["what", "it", "he", "she", "they", "that", "this", "which"];

/// Macros whose functions are tests without an attribute.
const TEST_MACROS: [&str; 3] = ["on_each_store! {", "for_each_backend! {", "stories! {"];

/// The test functions of a file: those with an attribute of tests, and those in a macro that makes tests.
fn test_functions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Lines since the last item began, and whether a macro that makes tests is open.
    let (mut is_test, mut in_macro) = (false, None);
    for line in text.lines() {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if TEST_MACROS.contains(&line) {
            in_macro = Some(indent);
        } else if in_macro == Some(indent) && line.starts_with('}') {
            in_macro = None;
        }
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("test(");
            continue;
        }
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();
        let name = words.iter().position(|word| *word == "fn").and_then(|at| words.get(at + 1));
        let is_in_macro = in_macro.is_some_and(|opened| indent == opened + 4);
        // Some macros take a list of names.
        let is_listed =
            in_macro.is_some() && words.len() == 1 && line.trim_end_matches([',', ';']) == words[0];
        if let Some(name) = name.filter(|_| is_test || is_in_macro).or(is_listed.then(|| &words[0])) {
            found.push((*name).to_owned());
        }
        is_test &= line.is_empty() || line.starts_with("//");
    }
    found
}

/// The pronoun in a name that refers to nothing.
fn ownerless_pronoun(name: &str) -> Option<&str> {
    let first = name.split('_').next().filter(|word| FIRST_PRONOUNS.contains(word));
    first.or_else(|| name.split('_').find(|word| PRONOUNS.contains(word)))
}

#[test]
fn test_names_are_short_and_name_their_subject() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for source in sources(&["src", "crates", "tests", "fuzz", "benches", "examples"]) {
        for name in test_functions(&source.text) {
            count += 1;
            if name.len() > MAX_LENGTH {
                faults.push(format!("{}: {name} has {} characters", source.path, name.len()));
            }
            if let Some(pronoun) = ownerless_pronoun(&name) {
                faults.push(format!("{}: {name} has the pronoun {pronoun:?} instead of a noun", source.path));
            }
        }
    }
    assert!(count > 400, "only {count} tests were found");
    assert_no_faults(&faults);
}

#[test]
fn test_functions_are_found_however_they_are_written() {
    let text = "#[test]\nfn a() {\n    b();\n}\nfn c() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn d() {}\n\
                on_each_store! {\n    /// E.\n    async fn e(kind) {\n        fn inner() {}\n    }\n}\nfn f() {}\n\
                stories! {\n    g\n}\nfor_each_backend! {\n    file:\n        i,\n        j;\n}\n    proptest! {\n        #[test]\n        fn h(x in 0..1) {}\n    }\n";
    assert_eq!(test_functions(text), ["a", "d", "e", "g", "i", "j", "h"]);
    for (name, pronoun) in [
        ("client_gets_its_answer", None),
        ("what_is_lost_comes_back", Some("what")),
        ("node_closes_who_is_slow", Some("who")),
        ("whole_message_is_read", None),
    ] {
        assert_eq!(ownerless_pronoun(name), pronoun, "{name}");
    }
}

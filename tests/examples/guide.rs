//! The guide docs/embedding.md: its code is that of the files that the other tests run.

const GUIDE: &str = include_str!("../../docs/embedding.md");

/// The code blocks with one of these words after the fence.
fn blocks(languages: &[&str]) -> Vec<&'static str> {
    let blocks = GUIDE.split("\n```").skip(1).step_by(2);
    blocks
        .filter_map(|block| {
            let (language, code) = block.split_once('\n')?;
            languages.contains(&language).then_some(code)
        })
        .collect()
}

#[test]
fn code_in_the_guide_is_that_of_the_examples() {
    let files = [
        include_str!("../../examples/embedding/site.mjs"),
        include_str!("../../examples/embedding/site.py"),
        include_str!("../../examples/embedding/main.rs"),
        include_str!("../../examples/embedding/page.mjs"),
    ];
    let blocks = blocks(&["js", "python", "rust"]);
    assert!(blocks.len() >= 7, "{} blocks", blocks.len());
    for block in blocks {
        assert!(files.iter().any(|file| file.contains(block)), "no example contains this:\n{block}");
    }
}

#[test]
fn policy_in_the_guide_is_that_of_the_example() {
    let policy = "default-src 'self'; connect-src 'self' wss://chat.example.com";
    assert_eq!(blocks(&["http"]), [format!("Content-Security-Policy: {policy}")]);
    let template = policy.replace("wss://chat.example.com", "${new URL(CHAT_URL).origin}");
    assert!(include_str!("../../examples/embedding/site.mjs").contains(&format!("`{template}`")));
}

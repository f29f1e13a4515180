//! The source files of the project. Owns how they are found, and how their code is separated from comments, strings and tests.
//! Knows no rule; used by all rules.

use std::path::{Path, PathBuf};

/// One Rust file.
pub struct Source {
    /// Below the project's folder, with `/`.
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

/// All files in a folder of the project and below, sorted by path; no files if the folder is missing.
pub fn files(folder: &str) -> Vec<String> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            let is_built = path.ends_with("target");
            match path.is_dir() {
                true if is_built => {}
                true => walk(&path, into),
                false => into.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    let below = |path: PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    let mut found: Vec<String> = found.into_iter().map(below).collect();
    found.sort();
    found
}

/// All Rust files in these folders and below.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = folders.iter().flat_map(|folder| files(folder)).filter(|path| path.ends_with(".rs"));
    paths.map(|path| Source { text: std::fs::read_to_string(root.join(&path)).unwrap(), path }).collect()
}

/// The files of all packages: the server and those in `crates/`.
pub fn shipped() -> Vec<Source> {
    let mut shipped = sources(&["src"]);
    for package in packages() {
        shipped.extend(sources(&[&format!("crates/{package}/src")]));
    }
    assert!(shipped.len() > 100, "only {} sources were found", shipped.len());
    shipped
}

/// The names of the folders in `crates/`.
pub fn packages() -> Vec<String> {
    let manifests = files("crates");
    let names = manifests.iter().filter_map(|path| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"));
    names.map(str::to_owned).collect()
}

/// The code of a source, without comments, strings, and the tests at its end.
pub fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c == '\'' {
            match character(rest) {
                Some(length) => length,
                None => {
                    code.push(c);
                    rest = &rest[1..];
                    continue;
                }
            }
        } else if !is_in_word && ["r\"", "r#\"", "br\"", "br#\""].iter().any(|start| rest.starts_with(start))
        {
            let open = rest.find('"').unwrap() + 1;
            let end = if rest[..open].contains('#') { "\"#" } else { "\"" };
            open + rest[open..].find(end).unwrap() + end.len()
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.unwrap() + 2
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        rest = &rest[skipped..];
    }
    code
}

/// The length of the character literal at the start of a text; none if the quote begins a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        // The character after the backslash may be a quote.
        characters.next()?;
        return characters.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    let (at, next) = characters.next()?;
    (next == '\'').then_some(at + 1)
}

#[test]
fn code_contains_no_comments_texts_or_tests() {
    let text = "//! crate::a\nlet b: &'static str = \"crate::c \\\" {\"; // d\nlet e = r#\"f\"#; let g = ['{', '\\'', '\"'];\n\
                #[cfg(test)]\nmod tests {\n    use h;\n}\n";
    let words: Vec<String> = code(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words.join(" "), "let b: &'static str = ; let e = ; let g = [, , ];");
}

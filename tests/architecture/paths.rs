//! The paths in the code of a file: its imports with their names, and the paths in other code. Owns how they are read from
//! tokens; knows no types, so a method call is not a path. Used by the rules on layers and on circles.

/// The segments of a path as they are written: `["super", "topic", "Topic"]`.
pub type Path = Vec<String>;

/// An entry of a `use`.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// The inline modules around it, outermost first.
    pub inside: Path,
    pub path: Path,
    /// Its name in the file; none for `*` and `_`.
    pub name: Option<String>,
    /// Whether it is exported again: `pub` with any visibility.
    pub is_reexport: bool,
}

/// The paths of a file.
#[derive(Debug, Default)]
pub struct Paths {
    pub imports: Vec<Import>,
    /// Paths of two or more segments in other code, with the inline modules around each.
    pub used: Vec<(Path, Path)>,
}

impl Paths {
    /// Reads the code of a source.
    pub fn of(code: &str) -> Self {
        let tokens = tokens(code);
        let token = |at: usize| tokens.get(at).copied().unwrap_or("");
        let mut paths = Self::default();
        // The current inline modules, each with the depth of braces before it.
        let (mut inside, mut depth): (Vec<(&str, usize)>, usize) = (Vec::new(), 0);
        let mut at = 0;
        while at < tokens.len() {
            let around: Path = inside.iter().map(|(name, _)| (*name).to_owned()).collect();
            match token(at) {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    inside.pop_if(|(_, opened)| *opened == depth);
                }
                "mod" if token(at + 2) == "{" => {
                    inside.push((token(at + 1), depth));
                    depth += 1;
                    at += 2;
                }
                // `+ use<'a>` is no import: it lists the captures of a type.
                "use" if token(at + 1) != "<" => {
                    let is_for_tests = is_for_tests(&tokens[..at]);
                    let is_reexport = tokens[..at].last().is_some_and(|last| *last == "pub")
                        || tokens[..at].rsplit(|token| *token == "(").next().is_some_and(|scope| {
                            scope.last() == Some(&")")
                                && tokens[..at - scope.len() - 1].last() == Some(&"pub")
                        });
                    let mut entries = Vec::new();
                    at = tree(&tokens, at + 1, &Path::new(), &mut entries);
                    if !is_for_tests {
                        paths.imports.extend(entries.into_iter().map(|(path, name)| Import {
                            inside: around.clone(),
                            path,
                            name,
                            is_reexport,
                        }));
                    }
                }
                word if is_word(word) && token(at + 1) == "::" && is_word(token(at + 2)) => {
                    let mut path = vec![word.to_owned()];
                    while token(at + 1) == "::" && is_word(token(at + 2)) {
                        path.push(token(at + 2).to_owned());
                        at += 2;
                    }
                    paths.used.push((around, path));
                }
                _ => {}
            }
            at += 1;
        }
        paths
    }
}

/// Whether the item after these tokens is compiled only for tests.
fn is_for_tests(before: &[&str]) -> bool {
    let before = match before {
        [before @ .., "pub"] => before,
        [before @ .., "pub", "(", _, ")"] | [before @ .., "pub", "(", "in", _, ")"] => before,
        before => before,
    };
    before.ends_with(&["#", "[", "cfg", "(", "test", ")", "]"])
}

/// Reads one tree of a `use`, and returns the index of the token after it.
fn tree(tokens: &[&str], mut at: usize, base: &Path, into: &mut Vec<(Path, Option<String>)>) -> usize {
    let mut path = base.clone();
    while let Some(token) = tokens.get(at) {
        match *token {
            "::" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = tree(tokens, at, &path, into);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            "*" => {
                path.push("*".to_owned());
                into.push((path, None));
                return at + 1;
            }
            "as" => {
                let name = tokens.get(at + 1).filter(|name| **name != "_").map(|name| (*name).to_owned());
                into.push((path, name));
                return at + 2;
            }
            // `self` in a group means the module before the group.
            "self" if path.len() > base.len() || !base.is_empty() => {}
            word if is_word(word) => path.push(word.to_owned()),
            _ => break,
        }
        at += 1;
    }
    let name = path.last().cloned();
    into.push((path, name));
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_in_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_in_word(first) {
            rest.find(|c| !is_in_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

#[test]
fn imports_and_paths_are_read() {
    let code = "use std::fmt;\npub(crate) use self::a::{B, c::{self, D as E}};\nuse crate::f::*;\n\
                #[cfg(test)]\nuse super::t;\nmod inner { use super::G; fn h() { G::new() } }\n\
                fn i<'a>(x: &'a super::J) -> impl Iterator + use<'a> { crate::k::L::<M>::n(o::P) }";
    let paths = Paths::of(code);
    let imports: Vec<String> = paths
        .imports
        .iter()
        .map(|import| {
            let name = import.name.as_deref().unwrap_or("_");
            let reexport = if import.is_reexport { "pub " } else { "" };
            format!("{}{reexport}{} as {name}", import.inside.concat(), import.path.join("::"))
        })
        .collect();
    assert_eq!(
        imports,
        [
            "std::fmt as fmt",
            "pub self::a::B as B",
            "pub self::a::c as c",
            "pub self::a::c::D as E",
            "crate::f::* as _",
            "innersuper::G as G",
        ]
    );
    let used: Vec<String> =
        paths.used.iter().map(|(inside, path)| inside.concat() + &path.join("::")).collect();
    assert_eq!(used, ["innerG::new", "super::J", "crate::k::L", "o::P"]);
}

//! The tables of libraries in `docs/clients.md`. Owns how they are read; the stories hold them to what libraries tell.

use std::path::Path;

use super::library::{ALL, Library};

/// What the page says about one library.
pub struct Row {
    library: Library,
    /// Column and content.
    cells: Vec<(String, String)>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The rows of all tables whose first column is `library`.
fn rows() -> Vec<Vec<(String, String)>> {
    let page = read("docs/clients.md");
    let mut columns: Option<Vec<String>> = None;
    let mut rows = Vec::new();
    for line in page.lines() {
        if !line.starts_with('|') {
            columns = None;
        } else if line.starts_with("| library |") {
            columns = Some(cells(line));
        } else if let Some(columns) = columns.as_ref().filter(|_| !line.starts_with("| ---")) {
            rows.push(columns.iter().cloned().zip(cells(line)).collect());
        }
    }
    rows
}

impl Row {
    /// The row of a library. Its first cell is the name, perhaps with a version.
    pub fn of(library: Library) -> Self {
        let is_its = |row: &Vec<(String, String)>| row[0].1.split('`').nth(1) == Some(library.name);
        let cells = rows().into_iter().find(is_its);
        let cells = cells.unwrap_or_else(|| panic!("docs/clients.md has no row for `{}`", library.name));
        Self { library, cells }
    }

    /// Whether these words are among those to mind.
    pub fn tells_to_mind(&self, words: &str) -> bool {
        self.cells.iter().any(|(column, cell)| column == "mind" && cell.contains(words))
    }

    /// Fails if the page says something else in this column.
    #[track_caller]
    pub fn says(&self, column: &str, told: &str) {
        let cell = self.cells.iter().find(|(name, _)| name == column);
        let (_, said) = cell.unwrap_or_else(|| panic!("docs/clients.md has no column {column}"));
        assert_eq!(said, told, "docs/clients.md, and what {} told: {column}", self.library.name);
    }
}

/// Whether a manifest pins this version of a package: it follows the name, with nothing but punctuation and other names between.
fn pins(manifest: &str, package: &str, version: &str) -> bool {
    let versions = manifest.match_indices(package).filter_map(|(at, name)| {
        let rest = &manifest[at + name.len()..];
        let start = rest.find(|c: char| c.is_ascii_digit())?;
        let is_near = start < 40 && !rest[..start].contains("</dependency>");
        is_near.then(|| rest[start..].split(['"', '<', '\n', ' ', ',']).next().unwrap_or_default())
    });
    versions.into_iter().any(|pinned| pinned == version)
}

#[test]
fn page_names_the_versions_that_are_tested() {
    for library in ALL {
        let first = Row::of(library).cells[0].1.clone();
        let version = first.rsplit_once('`').unwrap().1.trim().to_owned();
        let Some(package) = library.package else {
            assert_eq!(version, "", "{first} comes with the language");
            continue;
        };
        let path =
            format!("tests/clients/drivers/{}/{}", library.language.folder(), library.language.manifest());
        assert!(pins(&read(&path), package, &version), "{path} pins another version than {first}");
    }
}

#[test]
fn pins_are_found_in_every_manifest() {
    for (manifest, package) in [
        ("websockets==17.4\n", "websockets"),
        ("  \"ws\": \"17.4\",", "ws"),
        ("\tgithub.com/coder/websocket v17.4\n", "coder/websocket"),
        ("<artifactId>okhttp-jvm</artifactId>\n      <version>17.4</version>", "okhttp-jvm"),
        ("tokio-tungstenite = \"=17.4\"", "tokio-tungstenite"),
        ("ezsockets = { version = \"=17.4\", features", "ezsockets"),
    ] {
        assert!(pins(manifest, package, "17.4"), "{manifest}");
        assert!(!pins(manifest, package, "17.5") && !pins(manifest, package, "17"), "{manifest}");
    }
}

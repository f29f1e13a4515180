//! Circles between the files of one layer. Owns the graph of a package's modules and the dependencies between them. The
//! circles that are left for later are listed here, with the reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::files::assert_no_faults;
use crate::paths::{Path, Paths};
use crate::source::{Source, code, packages, sources};

/// Dependencies that don't count: the file, the file that it depends on, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "src/chat/outbox.rs",
    "src/chat/topic.rs",
    "the outbox of a lagging member holds its topics, and a topic holds the outboxes of its members",
)];

/// The modules of a package, each in a file.
struct Modules {
    /// The file of each module, by the module's path.
    files: HashMap<Path, usize>,
    /// The imports of each file, by the file and the name of the import.
    names: HashMap<(usize, String), Path>,
    /// The module of each file.
    paths: Vec<Path>,
}

/// The path of the module in a file of `src`; none for a program beside the library.
fn module(path: &str) -> Option<Path> {
    let path = path.strip_suffix(".rs").unwrap();
    if path == "main" || path.starts_with("bin/") {
        return None;
    }
    let mut segments: Path = path.split('/').map(str::to_owned).collect();
    if matches!(segments.last().map(String::as_str), Some("mod" | "lib")) {
        segments.pop();
    }
    Some(segments)
}

/// The layer of a module: the first segment of its path.
fn layer(module: &Path) -> &str {
    module.first().map_or("", String::as_str)
}

impl Modules {
    fn of(paths: &[Path], read: &[Paths]) -> Self {
        let files = paths.iter().enumerate().map(|(file, path)| (path.clone(), file)).collect();
        let mut modules = Self { files, names: HashMap::new(), paths: paths.to_vec() };
        for (file, read) in read.iter().enumerate() {
            for import in read.imports.iter().filter(|import| import.inside.is_empty()) {
                if let Some(name) = &import.name
                    && let Some(path) = modules.absolute(file, &import.inside, &import.path)
                {
                    modules.names.insert((file, name.clone()), path);
                }
            }
        }
        modules
    }

    /// The path from the root of the package; none for a path into another package.
    fn absolute(&self, file: usize, inside: &Path, path: &Path) -> Option<Path> {
        let mut here = self.paths[file].clone();
        // The items of an inline module belong to the file around it.
        let mut inline = inside.len();
        let mut rest = &path[..];
        match rest.first()?.as_str() {
            "crate" => {
                here.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    match inline.checked_sub(1) {
                        Some(outer) => inline = outer,
                        None => drop(here.pop()),
                    }
                    rest = &rest[1..];
                }
            }
            // A module below this one, or an import of this file. Any other path is one of another package.
            first if inside.is_empty() => {
                let below = [&here[..], &[first.to_owned()]].concat();
                if !self.files.contains_key(&below) {
                    let known = self.names.get(&(file, first.to_owned()))?;
                    return Some([&known[..], &rest[1..]].concat());
                }
            }
            _ => return None,
        }
        here.extend_from_slice(rest);
        Some(here)
    }

    /// The file that defines the item at a path, through any number of re-exports. None if the path is only a module, which
    /// counts once an item of it is used.
    fn definition(&self, path: &Path) -> Option<usize> {
        let mut path = path.clone();
        // Limits the search in case a re-export leads to itself.
        for _ in 0..16 {
            let (mut module, mut at) = (Path::new(), 0);
            while at < path.len() {
                module.push(path[at].clone());
                if !self.files.contains_key(&module) {
                    module.pop();
                    break;
                }
                at += 1;
            }
            let file = *self.files.get(&module)?;
            let name = path.get(at)?;
            match self.names.get(&(file, name.clone())) {
                Some(known) => path = [&known[..], &path[at + 1..]].concat(),
                None => return Some(file),
            }
        }
        None
    }
}

/// For each file of a package the files of the same layer that it depends on, each with a path that it uses.
fn dependencies(package: &[Source], is_one_layer: bool) -> BTreeMap<String, BTreeMap<String, String>> {
    let named: Vec<(&Source, Path)> =
        package.iter().filter_map(|source| Some((source, module(&source.path)?))).collect();
    // Files with tests don't belong to the layer.
    let named: Vec<&(&Source, Path)> =
        named.iter().filter(|(_, path)| !path.iter().any(|segment| segment == "tests")).collect();
    let read: Vec<Paths> = named.iter().map(|(source, _)| Paths::of(&code(&source.text))).collect();
    let paths: Vec<Path> = named.iter().map(|(_, path)| path.clone()).collect();
    let modules = Modules::of(&paths, &read);
    let mut all = BTreeMap::new();
    for (file, (source, path)) in named.iter().enumerate() {
        // A re-export is no dependency: a file that imports the item depends on the file that defines it.
        let imported = read[file].imports.iter().filter(|import| !import.is_reexport);
        let imported = imported.map(|import| (&import.inside, &import.path));
        let used = read[file].used.iter().map(|(inside, path)| (inside, path));
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for (inside, used) in imported.chain(used) {
            let Some(absolute) = modules.absolute(file, inside, used) else { continue };
            let Some(to) = modules.definition(&absolute).filter(|to| *to != file) else { continue };
            if is_one_layer || layer(&paths[to]) == layer(path) {
                found.entry(named[to].0.path.clone()).or_insert_with(|| used.join("::"));
            }
        }
        all.insert(source.path.clone(), found);
    }
    all
}

/// The circles in these dependencies, each once, with the dependencies between its files.
fn circles(dependencies: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<String> {
    let reachable = |from: &String| {
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        let mut open: Vec<&String> = dependencies[from].keys().collect();
        while let Some(file) = open.pop() {
            if seen.insert(file) {
                open.extend(dependencies[file].keys());
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        dependencies.keys().map(|file| (file, reachable(file))).collect();
    let mut circles = Vec::new();
    let mut told: BTreeSet<&String> = BTreeSet::new();
    for file in dependencies.keys().filter(|file| reach[file].contains(file)) {
        let circle: Vec<&String> =
            reach[file].iter().copied().filter(|other| reach[other].contains(file)).collect();
        if !told.insert(circle[0]) {
            continue;
        }
        let mut lines = vec![format!("these {} files depend on each other:", circle.len())];
        for from in &circle {
            for (to, name) in dependencies[*from].iter().filter(|(to, _)| circle.contains(to)) {
                lines.push(format!("    {from} -> {to}, by {name}"));
            }
        }
        circles.push(lines.join("\n"));
    }
    circles
}

/// The files of a package, by their paths below its `src`.
fn package(folder: &str) -> Vec<Source> {
    let mut package = sources(&[folder]);
    for source in &mut package {
        source.path = source.path[folder.len() + 1..].to_owned();
    }
    package
}

#[test]
fn files_of_a_layer_form_no_circles() {
    let (mut found, mut excused) = (Vec::new(), 0);
    let crates = packages().into_iter().map(|package| format!("crates/{package}/src"));
    for folder in crates.chain(["src".to_owned()]) {
        let mut dependencies = dependencies(&package(&folder), folder != "src");
        assert!(dependencies.len() > 3, "{folder}: only {} files were found", dependencies.len());
        for (from, to, _) in EXCEPTIONS {
            if let Some(of) =
                from.strip_prefix(&format!("{folder}/")).and_then(|from| dependencies.get_mut(from))
            {
                excused += usize::from(of.remove(&to[folder.len() + 1..]).is_some());
            }
        }
        found.extend(circles(&dependencies).into_iter().map(|circle| format!("{folder}: {circle}")));
    }
    assert_no_faults(&found);
    assert_eq!(excused, EXCEPTIONS.len(), "an exception is not needed any more");
}

#[test]
fn circle_is_found_through_reexports() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let package = |last: &str| {
        vec![
            source("lib.rs", "pub mod chat; pub mod backend;"),
            source(
                "chat/mod.rs",
                "mod topic; mod outbox; mod ring; pub use topic::Topic; pub use outbox::Outbox;",
            ),
            source(
                "chat/topic.rs",
                "use super::Outbox; use crate::backend::Store; fn f() { ring::g() } use super::ring;",
            ),
            source("chat/outbox.rs", last),
            source("chat/ring.rs", "use crate::chat::topic; // topic::Topic\n"),
            source("backend.rs", "use crate::chat::Topic; pub struct Store;"),
        ]
    };
    let open = dependencies(&package("use std::fmt; fn f() { let s = \"super::Topic\"; }"), false);
    assert_eq!(open["chat/topic.rs"].keys().collect::<Vec<_>>(), ["chat/outbox.rs", "chat/ring.rs"]);
    assert!(open["chat/mod.rs"].is_empty() && open["backend.rs"].is_empty(), "{open:?}");
    assert_eq!(circles(&open), Vec::<String>::new());
    for closing in ["use super::Topic;", "use super::topic::Topic;", "fn f(t: crate::chat::Topic) { t::x() }"]
    {
        let found = circles(&dependencies(&package(closing), false));
        assert_eq!(found.len(), 1, "{closing}");
        assert!(found[0].contains("chat/outbox.rs -> chat/topic.rs"), "{found:?}");
    }
    let in_child = circles(&dependencies(&package("mod inner { use super::super::Topic; }"), false));
    assert_eq!(in_child.len(), 1);
}
